"""The environment of the measured process as a script, and as a container."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from runner.config.schema import RunConfig
from runner.machine.libraries import library_folders
from runner.processes.launch import ALLOWED, ALLOWED_PREFIXES, LIBRARY_PATH, WorkerLaunch
from runner.protocol import BACKENDS_VARIABLE

LIBRARIES_VARIABLE = "SHIPPED_LIBRARIES"
"""A folder that environment.sh searches first for libraries to preload."""
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
# The libraries that it preloaded: {names}.
_find_library() {{
  for _folder in "${{{variable}:-/nowhere}}" "${{VIRTUAL_ENV:-/nowhere}}/lib" /usr/local/lib /usr/lib/*-linux-gnu \\
    /usr/lib64 /usr/lib /lib64; do
    if [ -e "$_folder/$1" ]; then echo "$_folder/$1"; return; fi
  done
}}
_preload=""
for _name in {names}; do
  _found=$(_find_library "$_name")
  if [ -z "$_found" ]; then
    echo "environment.sh: $_name is missing: {remedy}" >&2
    return 1 2>/dev/null || exit 1
  fi
  _preload="$_preload${{_preload:+:}}$_found"
done
export LD_PRELOAD="$_preload"
"""
DOCKERFILE = """\
# docker build -t {tag} .     docker run --rm {tag} --check
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
        remedy = f"apt-get install {config.allocator.packages[-1]}" if config.allocator.packages else "pip install "
        if remedy == "pip install ":
            remedy += " ".join(python_packages(config))
        text += PRELOAD.format(names=" ".join(map(shlex.quote, names)), variable=LIBRARIES_VARIABLE, remedy=remedy)
    return text


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
    needed = (["g++"] if compiles else []) + (["numactl"] if "numactl" in launch.argv else [])
    if needed:
        lines.append(f"apt-get install -y --no-install-recommends {' '.join(needed)}")
    system = f"RUN apt-get update && {' && '.join(lines)} && rm -rf /var/lib/apt/lists/*\n" if lines else ""
    return DOCKERFILE.format(
        tag=config.model.name.lower().replace("/", "-"),
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        system=system,
        prefix="".join(f"{shlex.quote(word)} " for word in prefix(launch)),
        start="serve.py" if server else "run.py",
    )


def library_folder(names: Sequence[str]) -> str:
    """Return the folder here that has the libraries to preload; empty if none has all."""
    return next((str(one) for one in library_folders() if all((one / name).exists() for name in names)), "")
