"""Where the program's own files are: in a checkout, or installed from a wheel.

In a checkout everything stays inside it: the cache in the output folder, system libraries in the virtual environment,
other interpreters in ``.venvs``. Installed, the program follows the XDG base directories
(https://specifications.freedesktop.org/basedir-spec/latest/): the cache and system libraries are in
``$XDG_CACHE_HOME/runner``, other interpreters in ``$XDG_DATA_HOME/runner/environments``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from runner.protocol import BACKENDS_VARIABLE, MODELS_VARIABLE

PACKAGE = Path(__file__).resolve().parent
PROJECT = PACKAGE.parent
"""The folder that holds this package: the checkout, or a site-packages folder."""
CHECKOUT = PROJECT if (PROJECT / "conf" / "config.yaml").is_file() else None
"""The checkout that this program runs from; None if it is installed from a wheel."""
DATA = CHECKOUT or PACKAGE / "data"
"""The folder that holds ``conf/`` and ``constraints.txt``."""
CONF = DATA / "conf"
"""The configuration groups; ``conf/experiments`` holds the published tables."""
SUBJECTS = PACKAGE / "worker" / "subjects"
"""The sources of models of this package, among their other modules."""
BACKENDS = PACKAGE / "worker" / "backends"
"""The backends of this package, one module each."""
SHIPPED = PACKAGE / "worker" / "shipped"
"""Files that are copied into a shipped folder as they are; nothing imports them."""


def extra_backend_folders() -> list[Path]:
    """Return the folders of backend modules outside this package, as ``RUNNER_BACKENDS`` names them."""
    return [Path(folder) for folder in os.environ.get(BACKENDS_VARIABLE, "").split(os.pathsep) if folder]


def extra_model_folders() -> list[Path]:
    """Return the folders of Python modules that build models, as ``RUNNER_MODELS`` names them."""
    return [Path(folder) for folder in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep) if folder]


def user_cache() -> Path:
    """Return the folder in which an installed program caches."""
    return _xdg("XDG_CACHE_HOME", ".cache") / "runner"


def default_cache(output_dir: Path) -> Path:
    """Return the folder of the artifact cache, absolute: ``cache`` in the output folder, or the user's cache.

    Args:
        output_dir: the output folder of the command.
    """
    return output_dir.absolute() / "cache" if CHECKOUT else user_cache()


def library_prefix() -> Path:
    """Return the prefix into which system libraries are unpacked without root: ``lib`` is below it."""
    return Path(sys.prefix) if CHECKOUT else user_cache() / "system"


def environment_folder(name: str) -> Path:
    """Return the virtual environment of a backend that needs its own: ``.venvs/ipex`` in a checkout."""
    if CHECKOUT:
        return CHECKOUT / ".venvs" / name
    return _xdg("XDG_DATA_HOME", ".local/share") / "runner" / "environments" / name


def import_folder() -> Path:
    """Return a folder that holds this package and no other, for the PYTHONPATH of a worker.

    Beside an installed package lie those of its interpreter, which must not reach another interpreter: a folder with a
    link to this package alone is made in the user's cache.

    Raises:
        OSError: the link cannot be made.
    """
    if CHECKOUT:
        return CHECKOUT
    folder = user_cache() / "import"
    link = folder / PACKAGE.name
    if not link.exists() or link.resolve() != PACKAGE:
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / f".{PACKAGE.name}-{os.getpid()}"
        fresh.symlink_to(PACKAGE)
        fresh.replace(link)  # at once: another process may be importing through it
    return folder


def _xdg(variable: str, default: str) -> Path:
    """Return a base directory; the specification says to ignore a relative path."""
    named = Path(os.environ.get(variable, ""))
    return named if named.is_absolute() else Path.home() / default
