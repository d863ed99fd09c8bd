"""The reference pages, made from the code: one module per page, with its `FILE` and a function ``page``."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from runner.paths import PROJECT

REFERENCE = PROJECT / "docs" / "reference"


def pages() -> dict[Path, str]:
    """Return the text of every generated page by its file."""
    modules = [_module(found.name) for found in pkgutil.iter_modules(__path__)]
    return {REFERENCE / module.FILE: module.page() for module in modules if hasattr(module, "FILE")}


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")
