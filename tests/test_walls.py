"""The walls of the house: what each wing imports, and what it never does."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from runner.paths import PROJECT

RUNTIMES = {
    "torch",
    "torchvision",
    "transformers",
    "optimum",
    "tokenizers",
    "huggingface_hub",
    "torchao",
    "timm",
    "onnx",
    "onnxruntime",
    "openvino",
    "nncf",
}
HOST_ONLY = {"hydra", "omegaconf", "mlflow", "pandas", "rich"}
WORKER_FILES = sorted((PROJECT / "runner" / "worker").rglob("*.py"))
HOST_FILES = [file for file in sorted((PROJECT / "runner").rglob("*.py")) if file not in WORKER_FILES]
CORRIDOR = {"runner.protocol"}


def imports(file: Path) -> set[str]:
    """Return the full names of everything a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


@pytest.mark.parametrize("file", HOST_FILES, ids=str)
def test_host_never_imports_a_runtime(file):
    """Not at the top, and not inside a function."""
    assert not {name.split(".")[0] for name in imports(file)} & RUNTIMES


@pytest.mark.parametrize("file", WORKER_FILES, ids=str)
def test_worker_never_imports_the_host(file):
    """Neither the host's libraries nor its modules, but for the protocol."""
    names = imports(file)
    assert not {name.split(".")[0] for name in names} & HOST_ONLY
    ours = {name for name in names if name.startswith("runner.") and not name.startswith("runner.worker")}
    assert {".".join(name.split(".")[:2]) for name in ours} <= CORRIDOR


@pytest.mark.parametrize("file", [PROJECT / "runner" / "protocol.py"], ids=str)
def test_corridor_needs_only_the_standard_library(file):
    """So that it stays valid for every interpreter."""
    assert {name.split(".")[0] for name in imports(file)} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("module", ["mlflow"])
def test_only_tracking_imports_mlflow(module):
    """The store is spoken to in one place."""
    users = [file.name for file in HOST_FILES if any(name.split(".")[0] == module for name in imports(file))]
    assert set(users) == {"reading.py", "recorder.py", "store.py"}


def test_two_modules_send_signals():
    """To a worker's groups, and to whatever has left them."""
    senders = [file.name for file in HOST_FILES if any(word in file.read_text() for word in ("killpg", "os.kill("))]
    assert senders == ["family.py", "workers.py"]


def test_host_starts_without_anything_heavy():
    """Before anything is launched neither a runtime nor MLflow, pandas or SciPy is loaded."""
    program = (
        "import sys, runner.__main__, runner.sweep; "
        "print([name for name in ('torch', 'mlflow', 'pandas', 'scipy', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
