"""Hydra's entry: compose, validate, run. ``python -m runner [-m] [GROUP=OPTION …] [FIELD=VALUE …]``.

The runs themselves begin in :class:`hydra_plugins.runner_plugins.RunSweeper`, for one run as for many.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from runner.config import composition, diagnostics
from runner.errors import ConfigurationError, Mistake, NothingLaunched
from runner.paths import PROJECT
from runner.processes import signals

CONF = PROJECT / "conf"
EXIT_MISTAKE, EXIT_INTERRUPTED = 2, 130


@hydra.main(version_base="1.3", config_path=str(CONF), config_name=composition.CONFIG_NAME)
def app(config: DictConfig) -> None:  # noqa: ARG001 -- Hydra asks for a function of one argument
    """Stand where Hydra wants a task: the configuration's hydra.mode sends every command to the sweeper."""
    raise ConfigurationError([Mistake("hydra.mode", "RUN", "MULTIRUN", "One run is a sweep of one: leave it out")])


def main() -> None:
    """Run the command line; a mistake in it ends with one line each and exit code 2."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and the mistake is told below
    composition.register_schema()
    signals.install_handlers()
    try:
        sys.argv[1:] = _arguments()
        with _known_configuration() as overrides:
            composition.refuse_code(overrides)
        app()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except ConfigurationError as error:
        _refuse(error)
    except NothingLaunched as error:
        print(f"nothing was launched: {error}", file=sys.stderr)
        sys.exit(EXIT_MISTAKE)
    except composition.COMPOSITION_ERRORS as error:
        with _known_configuration() as overrides:
            _refuse(diagnostics.diagnose(overrides, error))


def _arguments() -> list[str]:
    """Return the arguments that are to be carried out: those that began the sweep, where one is resumed.

    Raises:
        ConfigurationError: there is nothing to go on with.
    """
    asked = get_args_parser().parse_args()
    shown_only = asked.cfg or asked.info or asked.help or asked.hydra_help
    if shown_only or not any(word.lstrip("+").startswith("resume=") for word in asked.overrides):
        return sys.argv[1:]
    from runner.planning import resume

    return resume.resumed(resume.given()).arguments()


@contextmanager
def _known_configuration() -> Iterator[list[str]]:
    """Initialise Hydra with the folders that the command line names; give the overrides in it."""
    Plugins.instance()  # Hydra imports its plugins anew when it first looks for them
    from hydra_plugins.runner_plugins import ConfigDirectory

    arguments = get_args_parser().parse_args()
    if other := arguments.config_name or arguments.config_path:
        allowed = "this program's own: --config-dir adds a folder with groups"
        raise ConfigurationError([Mistake("--config-name and --config-path", other, allowed)])
    ConfigDirectory.folder = arguments.config_dir
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            yield list(arguments.overrides)
    finally:
        ConfigDirectory.folder = None  # Hydra itself adds it


def _refuse(error: ConfigurationError) -> NoReturn:
    count = len(error.mistakes)
    print(f"{count} mistake{'s' if count > 1 else ''} in the configuration, nothing was launched:", file=sys.stderr)
    for mistake in error.mistakes:
        print(f"  {mistake}", file=sys.stderr)
    sys.exit(EXIT_MISTAKE)


if __name__ == "__main__":
    main()
