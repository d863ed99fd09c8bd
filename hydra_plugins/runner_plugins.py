"""What this program adds to Hydra. Hydra takes plugins only from the namespace package ``hydra_plugins``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class RunSweeper(Sweeper):
    """Takes over from Hydra when the command line is expanded: all runs of one command share what outlives a run."""

    def setup(
        self,
        *,
        hydra_context: HydraContext,  # noqa: ARG002 -- Hydra passes it by this name
        task_function: TaskFunction,  # noqa: ARG002 -- likewise
        config: DictConfig,
    ) -> None:
        """Keep the command's own configuration."""
        self._config = config

    def sweep(self, arguments: list[str]) -> NoReturn:
        """Run every combination of the arguments, print the table, and exit with the sweep's code."""
        from runner.config import composition
        from runner.measuring.progress import BrokenPipeSafeConsole
        from runner.measuring.session import run_session
        from runner.planning.plans import make_plans
        from runner.planning.resume import given

        # Hydra's own sweeper knows how an override expands; running the jobs is left to us.
        overrides = composition.parse(arguments)
        composition.refuse_empty_globs(overrides)
        [jobs] = BasicSweeper.split_arguments(overrides, max_batch_size=None)
        sys.exit(run_session(given(), make_plans(jobs), Path(self._config.hydra.sweep.dir), BrokenPipeSafeConsole()))


class ConfigDirectory(SearchPathPlugin):
    """Makes the folder that --config-dir names known when mistakes are told apart.

    Hydra's own command line, which does it otherwise, has ended by then.
    """

    folder: str | None = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the folder."""
        if self.folder is not None:
            search_path.append("command-line", f"file://{Path(self.folder).absolute()}")


ConfigStore.instance().store(
    group="hydra/sweeper", name="runs", node={"_target_": f"{RunSweeper.__module__}.{RunSweeper.__name__}"}
)
