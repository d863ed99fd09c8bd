"""The walls of the house: what each wing imports, what each layer does, and how large a folder may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from runner.paths import PROJECT

PACKAGE = PROJECT / "runner"
MAX_MODULES = 12
"""Modules in a folder, its ``__init__`` not counted."""

LAYERS = (
    # Entry points: the program's, and the older forms ``python -m runner.report`` and the like.
    ("runner.__main__", "runner.report", "runner.cache", "runner.provision", "runner.machine.__main__",
     "runner.tracking.__main__"),
    ("runner.commands",),
    ("runner.run",),
    ("runner.searching", "runner.shipping", "runner.fleet"),
    ("runner.measuring",),
    ("runner.reporting",),
    ("runner.planning", "runner.tracking"),
    ("runner.processes",),
    ("runner.results",),
    ("runner.config",),
    ("runner.analysis",),
    ("runner.machine",),
    ("runner.errors", "runner.exit_codes"),
    ("runner.data_files",),
    ("runner.paths",),
    ("runner.protocol",),
    ("runner.job",),
    ("runner.codec",),
)  # fmt: skip
"""The host wing from top to bottom: a module imports from layers below its own, and from its own folder."""

WORKER_LAYERS = (
    (
        "runner.worker.__main__",
        "runner.worker.peak",
        "runner.worker.inspect",
        "runner.worker.prove",
        "runner.worker.ship",
    ),
    ("runner.worker.session",),
    ("runner.worker.build",),
    ("runner.worker.tasks",),
    ("runner.worker.backends",),
    ("runner.worker.converters",),
    ("runner.worker.subjects",),
    ("runner.worker.data", "runner.worker.evidence"),
    ("runner.worker.artifacts",),
    (
        "runner.worker.timing",
        "runner.worker.heap",
        "runner.worker.failures",
        "runner.worker.libraries",
        "runner.worker.subprocesses",
    ),
    ("runner.data_files",),
    ("runner.protocol",),
    ("runner.job",),
    ("runner.codec",),
)
"""The worker wing likewise. The protocol, its codec and the reading of data files are all that the two share."""

RUNTIMES = {
    "torch", "torchvision", "transformers", "optimum", "tokenizers", "huggingface_hub", "torchao", "timm", "onnx",
    "onnxruntime", "openvino", "nncf",
}  # fmt: skip
HOST_ONLY = {"hydra", "omegaconf", "mlflow", "pandas", "rich"}


def module_name(file: Path) -> str:
    """Return the dotted name of a file of the package."""
    parts = file.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}
PARTS = {name for name in MODULES if name.startswith("runner.worker.shipped")}
"""Files that are copied into a shipped folder: they belong to neither wing, and nothing imports them."""
WORKER = {name: file for name, file in MODULES.items() if name.startswith("runner.worker") and name not in PARTS}
HOST = {name: file for name, file in MODULES.items() if not name.startswith("runner.worker")}


@cache
def imports(file: Path) -> frozenset[str]:
    """Return the full names of everything a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return frozenset(found)


def own_imports(file: Path) -> set[str]:
    """Return the modules of this package that a file imports; a module in a folder counts, the folder does not."""
    names = {name for name in imports(file) if name in MODULES}
    return {
        name
        for name in names
        if MODULES[name].name != "__init__.py" or not any(n.startswith(f"{name}.") for n in names)
    }


def layer_of(module: str, layers: tuple[tuple[str, ...], ...]) -> tuple[int, str]:
    """Return the number of a module's layer, from the top, and the entry of the table that it belongs to."""
    fitting = [
        (number, entry)
        for number, layer in enumerate(layers)
        for entry in layer
        if module == entry or module.startswith(f"{entry}.")
    ]
    assert fitting, f"{module} is in no layer: add it to the table, or move it into a folder that is"
    return max(fitting, key=lambda found: len(found[1]))


def misplaced(modules: dict[str, Path], layers: tuple[tuple[str, ...], ...]) -> Iterator[str]:
    """Yield every import that does not point down: to a higher layer, or to another folder of the same one."""
    for module, file in modules.items():
        if MODULES[module] == PACKAGE / "__init__.py":
            continue
        number, entry = layer_of(module, layers)
        for imported in sorted(own_imports(file)):
            other_number, other_entry = layer_of(imported, layers)
            if other_number < number or (other_number == number and other_entry != entry):
                yield f"{module} imports {imported}"


def test_host_imports_point_down():
    """Never to a higher layer, and never from one folder to another that stands beside it."""
    assert list(misplaced(HOST, LAYERS)) == []


def test_worker_imports_point_down():
    """The same within the measured process."""
    worker = {name: file for name, file in WORKER.items() if file != PACKAGE / "worker" / "__init__.py"}
    assert list(misplaced(worker, WORKER_LAYERS)) == []


def test_the_table_names_only_what_exists():
    """An entry of the tables that names nothing would allow whatever comes to be named so."""
    entries = {entry for layer in (*LAYERS, *WORKER_LAYERS) for entry in layer}
    assert [entry for entry in sorted(entries) if entry not in MODULES] == []


def test_nothing_imports_what_is_shipped():
    """It is copied, and runs without this program."""
    assert not [name for name, file in MODULES.items() if own_imports(file) & PARTS]
    assert not [name for name in PARTS if own_imports(MODULES[name])]


def test_no_cycle():
    """Each module can be read before those that import it; the order exists, or this raises."""
    graph = {name: own_imports(file) - {name} for name, file in MODULES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


@pytest.mark.parametrize("folder", sorted({file.parent for file in MODULES.values()}), ids=lambda one: one.name)
def test_a_folder_can_be_taken_in_at_a_glance(folder):
    """At most twelve modules."""
    modules = [file.name for file in folder.glob("*.py") if file.name != "__init__.py"]
    assert len(modules) <= MAX_MODULES


@pytest.mark.parametrize("module", HOST)
def test_host_imports_neither_a_runtime_nor_the_worker(module):
    """Not at the top, and not inside a function."""
    names = imports(HOST[module])
    assert not {name.split(".")[0] for name in names} & RUNTIMES
    assert not {name for name in names if name == "runner.worker" or name.startswith("runner.worker.")}


@pytest.mark.parametrize("module", WORKER)
def test_worker_imports_nothing_of_the_host(module):
    """Neither the host's libraries nor its modules, but for the protocol."""
    names = imports(WORKER[module])
    assert not {name.split(".")[0] for name in names} & HOST_ONLY
    ours = {name for name in names if name.startswith("runner.") and not name.startswith("runner.worker")}
    assert {".".join(name.split(".")[:2]) for name in ours} <= {
        "runner.protocol",
        "runner.job",
        "runner.codec",
        "runner.data_files",
    }


def test_the_plugin_of_hydra_imports_neither():
    """It belongs to the host."""
    names = imports(PROJECT / "hydra_plugins" / "runner_plugins.py")
    assert not {name.split(".")[0] for name in names} & RUNTIMES
    assert not {name for name in names if name.startswith("runner.worker")}


def test_corridor_needs_only_the_standard_library():
    """So that it stays valid for every interpreter."""
    names = imports(PACKAGE / "protocol.py") | imports(PACKAGE / "job.py") | imports(PACKAGE / "codec.py")
    assert {name.split(".")[0] for name in names if not name.startswith(("runner.codec", "runner.job"))} <= set(
        sys.stdlib_module_names
    )


def test_data_files_are_read_without_any_package():
    """At the top of a module; what one format needs is imported where it is read."""
    for name, file in MODULES.items():
        if name.startswith("runner.data_files"):
            top = [node for node in ast.parse(file.read_text()).body if isinstance(node, (ast.Import, ast.ImportFrom))]
            found = {(node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name for node in top}
            packages = {one.split(".")[0] for one in found}
            assert packages <= {"__future__", "runner", *sys.stdlib_module_names}, name


def test_only_tracking_imports_mlflow():
    """The store is spoken to in one place."""
    users = {name for name, file in HOST.items() if any(one.split(".")[0] == "mlflow" for one in imports(file))}
    assert users == {
        f"runner.tracking.{name}" for name in ("client", "inputs", "model_format", "reader", "recorder", "registry")
    }


def test_two_modules_send_signals():
    """To a worker's groups, and to whatever has left them."""
    senders = [name for name, file in HOST.items() if any(word in file.read_text() for word in ("killpg", "os.kill("))]
    assert senders == ["runner.processes.process_tree", "runner.processes.worker"]


def test_host_starts_without_anything_heavy():
    """Before anything is launched neither a runtime nor MLflow, pandas or SciPy is loaded."""
    program = (
        "import sys, runner.run, runner.measuring.session; "
        "print([name for name in ('torch', 'mlflow', 'pandas', 'scipy', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
