"""Write the folder: the model, the files that run it, and what was measured. It appears whole, or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.config.schema import RunConfig, Task
from runner.paths import SHIPPED
from runner.processes.export import export
from runner.processes.launch import WorkerLaunch
from runner.protocol import Shipped
from runner.results.store import sweep_id_of
from runner.shipping import environment, packages
from runner.shipping.choice import Chosen
from runner.shipping.report import report
from runner.shipping.running import run_script

FACTS, VENV = "model.json", "venv"
FORMAT = 1
"""Version of model.json."""
ANSWERS, RECORDED = "answers.npz", "logits.npz"
NOT_ANSWERS = ("labels", "right", "differing", "weights", "data")
"""Arrays beside the answers in these files: see :class:`runner.protocol.Evaluate`."""
EXACT_DB, ROUNDED_DB = 60.0, 25.0
"""Lowest SQNR, in dB, at which outputs count as those that were measured: of fp32, and of all that rounds more. Sums in
another order leave more than that; a wrong weight, a wrong preparation or another precision less."""
SERVER_PACKAGES = ("fastapi", "uvicorn", "prometheus-client")
GENERATES = "_generation"
"""Ends the names of the runtimes' files for models that generate text."""
LOOP = (
    "It needs PyTorch and Transformers, whatever its runtime: the measured loop, which chooses each token, is theirs."
)


class NotShipped(Exception):
    """Nothing was written; the text is one line."""


@dataclass(frozen=True)
class Order:
    """What to ship."""

    chosen: Chosen
    config: RunConfig
    """The row's configuration, composed again."""
    launch: WorkerLaunch
    """Of a process like the measured one."""
    flaws: Sequence[str]
    """In spite of what it is shipped."""
    allowed: Collection[str]
    """Keys of :data:`runner.shipping.choice.FLAGS`."""
    server: bool
    same_program: bool
    """Whether code and packages are still those that measured it."""
    cores: Sequence[Sequence[int]]
    """Those of each instance; empty if it is not bound."""


def write_folder(order: Order, target: Path) -> None:
    """Write a folder that runs a row's model without this program; one that was shipped before is replaced.

    Raises:
        NotShipped: the folder is another one's, the backend cannot be shipped, or the model is not the measured one.
        RunFailed: the process that writes the model failed.
        OSError: the disk is full, or the folder cannot be written.
    """
    runtimes = {one.stem: one for one in (SHIPPED / "runtimes").glob("*.py")}
    if order.config.backend.name not in runtimes:
        known = ", ".join(sorted(name for name in runtimes if not name.endswith(GENERATES)))
        raise NotShipped(f"backend={order.config.backend.name} cannot be shipped; allowed: {known}")
    if order.config.threading.prefix:
        name = order.config.threading.name
        raise NotShipped(f"threading={name} needs PyTorch's launcher: ship a row with threading=physical_cores")
    if target.exists() and not target.is_dir():
        raise NotShipped(f"--to: {target} is a file; allowed: a new folder")
    target = target.resolve()
    if foreign := _foreign_files(target):
        shown = ", ".join(foreign[:3]) + (", …" if len(foreign) > 3 else "")
        raise NotShipped(
            f"--to: {target} has files of another origin ({shown}); allowed: a new folder, or one shipped before"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    old = made.with_name(f"{made.name}-old")
    try:
        _fill(order, made)
        _try(order, made)
        for folder in (made, *(one for one in made.rglob("*") if one.is_dir())):
            folder.chmod(0o755)  # those of mkdtemp and of the cache are for their owner alone
        if target.exists():
            target.rename(old)
        made.rename(target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def read_facts(folder: Path) -> dict[str, Any] | None:
    """Return model.json of a shipped folder; None if it is no such folder."""
    try:
        found = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_ours = isinstance(found, dict) and found.get("format") == FORMAT and {"record", "files"} <= found.keys()
    return found if is_ours else None


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by its path: without its environment and model.json."""
    found = {}
    for path in _files(folder):
        with path.open("rb") as stream:
            found[str(path.relative_to(folder))] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def digest_of_facts(facts: Mapping[str, Any]) -> str:
    """Return the SHA-256 of model.json without its own digest."""
    rest = {name: value for name, value in facts.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a shipped folder, and those that were added; not those of its virtual environment."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if path.is_file() and path != folder / FACTS and inside[0] != VENV and "__pycache__" not in inside:
            yield path


def _foreign_files(target: Path) -> list[str]:
    """Return the files of a folder that were not shipped; all of them if it is no shipped folder."""
    facts = read_facts(target) or {"files": {}}
    names = [str(path.relative_to(target)) for path in _files(target)] if target.is_dir() else []
    if not facts["files"] and target.is_dir() and any(target.iterdir()):
        return names or [one.name for one in target.iterdir()]
    return [name for name in names if name not in facts["files"]]


def _try(order: Order, folder: Path) -> None:
    """Run the folder once, and compare its outputs with those of the process that wrote it.

    Raises:
        NotShipped: it does not run, or answers otherwise.
    """
    python = Path(order.launch.argv[-3])
    with tempfile.TemporaryDirectory(prefix="runner-ship-") as home:
        try:
            found = run_script(folder, python, environment.prefix(order.launch), Path(home), "--check")
        except RuntimeError as error:
            raise NotShipped(f"the folder does not run: {error}") from error
    if not found["passed"]:
        raise NotShipped(f"the folder does not answer as the measured process: an SQNR of {found['sqnr_db']} dB")


def _fill(order: Order, folder: Path) -> None:
    """Write all files."""
    shipped = export(order.launch, folder)
    tolerance_db = EXACT_DB if order.config.precision.name == "fp32" else ROUNDED_DB
    notes = _compare_with_record(order, shipped, folder / ANSWERS, tolerance_db)
    (folder / ANSWERS).unlink()
    for name, source in _copied(order, shipped).items():
        shutil.copyfile(SHIPPED / source, folder / name)
    _write_texts(order, shipped, notes, folder)
    facts = {"format": FORMAT, **_facts(order, shipped), "tolerance_db": tolerance_db, "files": digests(folder)}
    facts["digest"] = digest_of_facts(facts)
    (folder / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _copied(order: Order, shipped: Shipped) -> dict[str, str]:
    """Return the files that are copied as they are, by their names in the folder: paths below SHIPPED."""
    backend = order.config.backend.name
    preparation = "pictures" if shipped.pictures else "texts" if shipped.texts else "arrays"
    found = {
        "run.py": "run.py",
        "proof.py": "proof.py",
        "runtime.py": f"runtimes/{backend}.py",
        "preparation.py": f"preparations/{preparation}.py",
    }
    if order.config.model.task is Task["text-generation"]:
        found |= {
            "runtime.py": f"runtimes/{backend}{GENERATES}.py",
            "plain_runtime.py": f"runtimes/{backend}.py",
            "generation.py": "generation.py",
        }
    return found | ({"serve.py": "serve.py"} if order.server else {})


def _write_texts(order: Order, shipped: Shipped, notes: Sequence[str], folder: Path) -> None:
    """Write what is read by people and by installers."""
    config, result = order.config, order.chosen.run.result
    names = [*shipped.packages, *environment.python_packages(config)]
    names += ["pillow"] if shipped.pictures else ["tokenizers"] if shipped.texts else []
    names += SERVER_PACKAGES if order.server else ()
    needed = packages.closure(names)
    compiles = bool(shipped.settings.get("compile"))
    start = " ".join([*environment.prefix(order.launch), "python", "run.py", "--help"])
    texts = {
        "requirements.txt": packages.requirements(needed),
        "LICENCES.md": packages.licences(needed),
        "environment.sh": environment.script(order.launch, config),
        "Dockerfile": environment.dockerfile(config, order.launch, compiles=compiles, server=order.server),
        ".dockerignore": f"{VENV}\n__pycache__\n",
        "REPORT.md": report(result, order.chosen.sweep.folder.name, order.flaws, notes, start),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _facts(order: Order, shipped: Shipped) -> dict[str, Any]:
    """Return what the files of the folder read, and which record they come from."""
    result = order.chosen.run.result
    return {
        "label": result.label,
        "task": shipped.task,
        "runtime": shipped.settings,
        "batch_size": order.config.batch_size,
        "cores": [list(one) for one in order.cores],
        "inputs": [dataclasses.asdict(one) for one in shipped.inputs],
        "outputs": [dataclasses.asdict(one) for one in shipped.outputs],
        "logits": shipped.logits,
        "labels": shipped.labels,
        "pictures": shipped.pictures,
        "texts": shipped.texts,
        "record": {
            "sweep": sweep_id_of(order.chosen.sweep.folder),
            "run": order.chosen.run.folder.name,
            "machine_class": result.machine_class,
            "weights": shipped.weights_digest,
        },
    }


def _compare_with_record(order: Order, shipped: Shipped, answers: Path, tolerance_db: float) -> list[str]:
    """Compare what the model answers now with what the measured one answered, and return what readers must know.

    Raises:
        NotShipped: it is another model.
    """
    result = order.chosen.run.result
    if result.digests.get("weights", shipped.weights_digest) != shipped.weights_digest:
        raise NotShipped("the weights have changed since they were measured: measure the row again")
    notes = [] if order.same_program else ["Code or packages have changed since it was measured."]
    notes += [LOOP] if order.config.model.task is Task["text-generation"] else []
    lowest, why = math.inf, ""
    if result.digests.get("data", shipped.data_digest) != shipped.data_digest:
        why = "the samples have changed since it was measured"
    else:
        try:
            lowest = _lowest_sqnr_db(order.chosen.run.folder / RECORDED, answers)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            why = f"the measured answers cannot be read ({type(error).__name__})"
    if why and "uncompared" not in order.allowed:
        raise NotShipped(f"{why}, so that its answers cannot be compared with the record: add --allow-uncompared")
    if why:
        notes.append(f"Whether it answers as the measured model: {why}.")
    if lowest < tolerance_db:
        raise NotShipped(
            f"the model does not answer as the measured one: an SQNR of {lowest:.1f} dB; allowed: at least "
            f"{tolerance_db:g}. Measure the row again"
        )
    if lowest < math.inf:
        notes.append(f"Its answers differ from the measured ones by rounding: an SQNR of {lowest:.1f} dB.")
    return notes


def _lowest_sqnr_db(recorded: Path, answers: Path) -> float:
    """Return the lowest SQNR, in dB, of the answers of two files; infinite if all are the same.

    Raises:
        OSError, ValueError, zipfile.BadZipFile: a file cannot be read.
    """
    with np.load(recorded, allow_pickle=False) as wanted, np.load(answers, allow_pickle=False) as given:
        names = [name for name in wanted.files if name not in NOT_ANSWERS]
        return min(_sqnr_db(wanted[name], given[name]) if name in given.files else -math.inf for name in names)


def _sqnr_db(wanted: NDArray[Any], given: NDArray[Any]) -> float:
    """Return the SQNR in dB: infinite if all is equal, minus infinite if shape, type, integers or NaN differ."""
    is_float = wanted.dtype.kind == "f"
    if wanted.shape == given.shape and np.array_equal(wanted, given, equal_nan=is_float):
        return math.inf
    if wanted.shape != given.shape or wanted.dtype != given.dtype or not is_float:
        return -math.inf
    signal, noise = (float(np.square(one.astype(np.float64)).sum()) for one in (wanted, wanted - given))
    return 10 * math.log10(signal / noise) if math.isfinite(noise) and signal > 0 else -math.inf
