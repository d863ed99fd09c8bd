"""Hydra plugins of this program. Hydra discovers plugins only in the namespace package ``hydra_plugins``."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class ConfigDirectory(SearchPathPlugin):
    """Adds the folder of --config-dir to Hydra's search path when this program composes configurations itself.

    Hydra adds the folder only in its own command line, which this program does not use to compose runs.
    """

    folder: str | None = None
    """Folder of --config-dir, None without the option. Set it before Hydra is initialised."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folder to the search path, if there is one."""
        if self.folder is not None:
            search_path.append("command-line", f"file://{Path(self.folder).absolute()}")
