"""What this program adds to Hydra. Hydra takes plugins only from the namespace package ``hydra_plugins``."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class ConfigDirectory(SearchPathPlugin):
    """Makes the folder that --config-dir names known when mistakes are told apart.

    Hydra's own command line, which does it otherwise, has ended by then.
    """

    folder: str | None = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the folder."""
        if self.folder is not None:
            search_path.append("command-line", f"file://{Path(self.folder).absolute()}")
