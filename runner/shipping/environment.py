"""The environment of the measured process as a script, and as a container."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from runner.config.schema import RunConfig
from runner.machine.libraries import library_folders
from runner.processes.launch import ALLOWED, ALLOWED_PREFIXES, LIBRARY_PATH, WorkerLaunch
from runner.protocol import BACKENDS_VARIABLE

LIBRARIES_VARIABLE = "SHIPPED_LIBRARIES"
"""Folders, separated by colons, that environment.sh searches first for libraries to preload."""
NOT_SHIPPED = frozenset(
    {
        "LD_PRELOAD",
        LIBRARY_PATH,
        "PYTHONPATH",
        "PYTHONSAFEPATH",
        "TORCHINDUCTOR_CACHE_DIR",
        "VIRTUAL_ENV",
        BACKENDS_VARIABLE,
    }
)
"""Variables of this program, and those that are written in another way."""
SCRIPT = """\
# The variables of the measured process. Source it in the shell that starts run.py: . ./environment.sh
{exports}
"""
PRELOAD = """
# The libraries that it preloaded, found in a virtual environment or in the system.
_preload() {{
  _folders="${{{variable}:-}}:${{VIRTUAL_ENV:-/nowhere}}/lib:/usr/local/lib"
  _folders="$_folders:/usr/lib/$(uname -m)-linux-gnu:/usr/lib64:/usr/lib"
  _ifs=$IFS; IFS=:
  for _folder in $_folders; do
    if [ -n "$_folder" ] && [ -e "$_folder/$1" ]; then
      IFS=$_ifs; _libraries="$_libraries${{_libraries:+:}}$_folder/$1"; return 0
    fi
  done
  IFS=$_ifs; echo "environment.sh: $1 is missing: $2" >&2; return 1
}}
_libraries=""
{calls}
export LD_PRELOAD="$_libraries"
"""
CALL = "_preload {name} {remedy} || return 1 2>/dev/null || exit 1"
DOCKERFILE = """\
# docker build -t {tag} .     docker run --rm {use}
FROM python:{python}-slim
{system}RUN useradd --create-home service
WORKDIR /model
COPY requirements.txt .
RUN pip install --no-cache-dir --requirement requirements.txt
COPY . .
USER service
ENTRYPOINT ["/bin/sh", "-c", ". ./environment.sh && exec {prefix}python {start} \\"$@\\"", "{start}"]
"""


def variables(launch: WorkerLaunch) -> dict[str, str]:
    """Return the variables that configured the measured process, without those that it had from its host."""
    return {
        name: value
        for name, value in launch.env.items()
        if name not in ALLOWED and name not in NOT_SHIPPED and not name.startswith(ALLOWED_PREFIXES)
    }


def preloaded(launch: WorkerLaunch) -> list[str]:
    """Return the file names of the libraries that the measured process preloaded."""
    return [Path(path).name for path in launch.env.get("LD_PRELOAD", "").split(":") if path]


def prefix(launch: WorkerLaunch) -> list[str]:
    """Return the words before the interpreter that bind the process to cores or to memory.

    setarch, which fixes the address layout so that processes can be compared, is none of them.
    """
    words = launch.argv[:-3]  # python -m runner.worker
    return words[2:] if words and Path(words[0]).name == "setarch" else words


def python_packages(config: RunConfig) -> list[str]:
    """Return the packages that bring a preloaded OpenMP runtime."""
    return ["intel-openmp"] if "libiomp5.so" in config.threading.libraries else []


def script(launch: WorkerLaunch, config: RunConfig) -> str:
    """Return environment.sh."""
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in sorted(variables(launch).items()))
    text = SCRIPT.format(exports=exports)
    if names := preloaded(launch):
        calls = [CALL.format(name=shlex.quote(one), remedy=shlex.quote(_remedy(one, config))) for one in names]
        text += PRELOAD.format(calls="\n".join(calls), variable=LIBRARIES_VARIABLE)
    return text


def _remedy(library: str, config: RunConfig) -> str:
    """Return the command that installs a library."""
    if library in config.threading.libraries:
        return f"pip install {' '.join(python_packages(config))}"
    return f"apt-get install {config.allocator.packages[-1]}"


def dockerfile(config: RunConfig, launch: WorkerLaunch, *, compiles: bool, server: bool) -> str:
    """Return the Dockerfile.

    Args:
        config: of the row.
        launch: of the measured process.
        compiles: whether PyTorch compiles the model where it starts, which needs a compiler.
        server: whether the container serves.
    """
    lines = []
    if config.allocator.packages:
        tried = " || ".join(f"apt-get install -y --no-install-recommends {one}" for one in config.allocator.packages)
        lines.append(f"({tried})")
    words = [] if server else prefix(launch)
    needed = (["g++"] if compiles else []) + [one for one in ("numactl",) if one in map(_name, words)]
    if needed:
        lines.append(f"apt-get install -y --no-install-recommends {' '.join(needed)}")
    system = f"RUN apt-get update && {' && '.join(lines)} && rm -rf /var/lib/apt/lists/*\n" if lines else ""
    tag = config.model.name.lower().replace("/", "-")
    return DOCKERFILE.format(
        tag=tag,
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        system=system,
        prefix="".join(f"{shlex.quote(word)} " for word in words),
        start="serve.py --host 0.0.0.0" if server else "run.py",
        use=f"-p 127.0.0.1:8000:8000 {tag}" if server else f"{tag} --check",
    )


def _name(word: str) -> str:
    return Path(word).name


def preload_folders() -> str:
    """Return the folders here that have libraries to preload, separated by colons."""
    return ":".join(map(str, library_folders()))
