"""Write the folder: the model, the files that run it, and what was measured. It appears whole, or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runner.analysis.accuracy import sqnr_db
from runner.config.schema import RunConfig
from runner.processes.export import export
from runner.processes.launch import WorkerLaunch
from runner.protocol import Shipped
from runner.results.store import sweep_id_of
from runner.shipping import environment, packages
from runner.shipping.choice import Chosen
from runner.shipping.report import report

PARTS = Path(__file__).with_name("parts")
"""Files that are copied as they are; nothing of this program imports them."""
FACTS = "model.json"
FORMAT = 1
"""Version of model.json."""
ANSWERS, RECORDED = "answers.npz", "logits.npz"
EXACT_DB, ROUNDED_DB = 60.0, 25.0
"""Lowest SQNR, in dB, at which outputs count as those that were measured: of fp32, and of all that rounds more. Sums in
another order leave more than that; a wrong weight, a wrong preparation or another precision less."""
SERVER_PACKAGES = ("fastapi", "uvicorn", "prometheus-client")


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
    server: bool
    same_program: bool
    """Whether code and packages are still those that measured it."""


def write_folder(order: Order, target: Path) -> None:
    """Write a folder that runs a row's model without this program; one that was shipped before is replaced.

    Raises:
        NotShipped: the folder is another one's, the backend cannot be shipped, or the model is not the measured one.
        RunFailed: the process that writes the model failed.
        OSError: the disk is full, or the folder cannot be written.
    """
    runtime = PARTS / "runtimes" / f"{order.config.backend.name}.py"
    if not runtime.exists():
        known = ", ".join(sorted(one.stem for one in runtime.parent.glob("*.py")))
        raise NotShipped(f"backend={order.config.backend.name} cannot be shipped; allowed: {known}")
    if order.config.threading.prefix:
        name = order.config.threading.name
        raise NotShipped(f"threading={name} needs PyTorch's launcher: ship a row with threading=physical_cores")
    if target.exists() and not target.is_dir():
        raise NotShipped(f"--to: {target} is a file; allowed: a new folder")
    if target.is_dir() and any(target.iterdir()) and read_facts(target) is None:
        raise NotShipped(f"--to: {target} has files of another origin; allowed: a new folder, or one shipped before")
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        _fill(order, runtime, made)
        for folder in (made, *(one for one in made.rglob("*") if one.is_dir())):
            folder.chmod(0o755)  # those of mkdtemp and of the cache are for their owner alone
        old = made.with_name(f"{made.name}-old")
        if target.exists():
            target.rename(old)
        made.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def read_facts(folder: Path) -> dict[str, Any] | None:
    """Return model.json of a shipped folder; None if it is no such folder."""
    try:
        found = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("format") == FORMAT else None


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder but model.json, by its path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != FACTS and "__pycache__" not in path.parts:
            with path.open("rb") as stream:
                found[str(path.relative_to(folder))] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def _fill(order: Order, runtime: Path, folder: Path) -> None:
    """Write all files."""
    shipped = export(order.launch, folder)
    tolerance_db = EXACT_DB if order.config.precision.name == "fp32" else ROUNDED_DB
    notes = _compare_with_record(order, shipped, folder / ANSWERS, tolerance_db)
    (folder / ANSWERS).unlink()
    preparation = "pictures" if shipped.pictures else "texts" if shipped.texts else "arrays"
    copied = {
        "run.py": PARTS / "run.py",
        "runtime.py": runtime,
        "preparation.py": PARTS / "preparations" / f"{preparation}.py",
    }
    if order.server:
        copied["serve.py"] = PARTS / "serve.py"
    for name, source in copied.items():
        shutil.copyfile(source, folder / name)
    _write_texts(order, shipped, notes, folder)
    facts = {"format": FORMAT, **_facts(order, shipped), "tolerance_db": tolerance_db, "files": digests(folder)}
    (folder / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _write_texts(order: Order, shipped: Shipped, notes: Sequence[str], folder: Path) -> None:
    """Write what is read by people and by installers."""
    config, result = order.config, order.chosen.run.result
    names = [*shipped.packages, *environment.python_packages(config)]
    names += ["pillow"] if shipped.pictures else ["tokenizers"] if shipped.texts else []
    names += SERVER_PACKAGES if order.server else ()
    needed = packages.closure(names)
    compiles = bool(shipped.settings.get("compile"))
    start = " ".join([*environment.prefix(order.launch), "venv/bin/python", "run.py", "--help"])
    texts = {
        "requirements.txt": packages.requirements(needed),
        "LICENCES.md": packages.licences(needed),
        "environment.sh": environment.script(order.launch, config),
        "Dockerfile": environment.dockerfile(config, order.launch, compiles=compiles, server=order.server),
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
        "instances": order.config.instances,
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
    recorded = order.chosen.run.folder / RECORDED
    if result.digests.get("data", shipped.data_digest) != shipped.data_digest or not recorded.exists():
        return [
            *notes,
            "The samples have changed since it was measured: its answers were not compared with the record.",
        ]
    lowest = _lowest_sqnr_db(recorded, answers)
    if lowest < tolerance_db:
        raise NotShipped(
            f"the model does not answer as the measured one: an SQNR of {lowest:.1f} dB; allowed: at least "
            f"{tolerance_db:g}. Measure the row again"
        )
    if lowest < math.inf:
        notes.append(f"Its answers differ from the measured ones by rounding: an SQNR of {lowest:.1f} dB.")
    return notes


def _lowest_sqnr_db(recorded: Path, answers: Path) -> float:
    """Return the lowest SQNR, in dB, of the floating-point answers of two files; infinite if all are the same."""
    lowest = math.inf
    with np.load(recorded) as wanted, np.load(answers) as given:
        for name in wanted.files:
            if not np.issubdtype(wanted[name].dtype, np.floating) or not wanted[name].size:
                continue
            if name not in given.files or given[name].shape != wanted[name].shape:
                return -math.inf
            found = sqnr_db(given[name], wanted[name])
            lowest = min(lowest, math.inf if found is None else found)
    return lowest
