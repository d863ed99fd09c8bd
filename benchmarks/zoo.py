"""Does every architecture run in every backend and precision? A matrix of 40 of them (an hour; it can be resumed).

Nothing is timed, so each core checks an architecture of its own.

Each cell loads the model without a download, runs a batch, proves the arithmetic, and compares the outputs with fp32:
`measure=check`. Promise: each cell is `ok`, or `unsupported` with one readable reason.

The weights are random, and for images those of the probe: its normalisation fits the images. Without it, deep networks
give every image the same outputs.

    make zoo
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import yaml

from benchmarks.harness import run
from runner import exit_codes
from runner.machine.facts import this_machine
from runner.paths import PROJECT
from runner.results.files import load
from runner.results.result import Result
from runner.results.status import Status

LIST = PROJECT / "benchmarks" / "zoo.yaml"
OUTPUTS = PROJECT / "outputs" / "zoo"
PAGE = PROJECT / "docs" / "reference" / "architectures.md"
BACKENDS = ("torch", "ort", "openvino")
PRECISIONS = ("fp32", "bf16", "int8")
COMMON = (
    *("measure=check", "tracking=none", "batch_size=2", "resume=true"),
    *("data.evaluation_samples=8", "data.calibration_samples=8", f"cache_dir={PROJECT / 'outputs' / 'cache'}"),
)


def arguments_of(name: str, overrides: Sequence[str]) -> list[str]:
    """Return the overrides that name an architecture and its weights."""
    of_library = overrides[0] in ("model=timm", "model=torchvision")  # others have a name of their own
    return [*overrides, *([f"model.name={name}", "weights=probe"] if of_library else ["weights=random"])]


def check(name: str, overrides: Sequence[str]) -> list[Result]:
    """Check an architecture in every backend and precision, or read what an earlier command found."""
    folder = OUTPUTS / name
    swept = [f"backend={','.join(BACKENDS)}", f"precision={','.join(PRECISIONS)}"]
    words = [*arguments_of(name, overrides), *swept, *COMMON, f"output_dir={folder}"]
    lock = OUTPUTS / f"lock-{threading.current_thread().name}"  # the machine's is for those who measure
    run(*words, codes=(exit_codes.OK, exit_codes.FAILED), RUNNER_LOCK=str(lock))
    sweep = max((folder / "sweeps").iterdir())
    return [load(path) for path in sorted(sweep.glob("*/result.json"))]


def cell(result: Result) -> str:
    """Return what a cell of the matrix shows: the SQNR of a row that is `ok`, else its status."""
    if result.status is not Status.ok:
        return str(result.status)
    if result.accuracy_failure or result.evidence_failure:
        return "failed"
    sqnr = result.accuracy.sqnr_db if result.accuracy is not None else None
    return "ok" if sqnr is None else f"{sqnr:.0f} dB"


def page(found: dict[str, list[Result]]) -> str:
    """Return the matrix as a page of the documentation."""
    titles = [f"{backend} {precision}" for backend in BACKENDS for precision in PRECISIONS]
    cells = [cell(result) for results in found.values() for result in results]
    counts = ", ".join(f"{cells.count(status)} {status}" for status in ("unsupported", "failed") if status in cells)
    good = sum(one == "ok" or one.endswith("dB") for one in cells)
    cores = len(os.sched_getaffinity(0))
    minutes = sum(result.wall_s for results in found.values() for result in results) / 60 / cores
    lines = [
        "# Which architectures run where",
        "",
        f"{len(found)} architectures, each in every backend and precision: {good} of {len(cells)} "
        f"cells run, {counts or 'none is unsupported'}. Made by `make zoo` on {this_machine().name} in "
        f"{minutes:.0f} minutes, an architecture on each of {cores} cores; `measure=check` checks a model of yours "
        "likewise.",
        "",
        "A cell that runs shows the signal-to-quantisation-noise ratio of its outputs over those of PyTorch in fp32; "
        "`ok` are exact ones, and generated tokens. int8 is calibrated on 8 images here, and the networks are not "
        "trained: the numbers say that the arithmetic works, not how accurate a trained model is.",
        "",
        f"| architecture | {' | '.join(titles)} |",
        f"|---|{'---|' * len(titles)}",
    ]
    lines += [f"| {name} | {' | '.join(map(cell, results))} |" for name, results in found.items()]
    return "\n".join([*lines, "", "## Why a cell has no number", "", *reasons(found), ""])


def reasons(found: dict[str, list[Result]]) -> Iterator[str]:
    """Yield a line for each reason, with the cells that have it."""
    cells: dict[str, list[str]] = {}
    for name, results in found.items():
        for result in results:
            reason = result.reason or result.accuracy_failure or result.evidence_failure
            if reason:
                cells.setdefault(reason.replace(name, "this model"), []).append(f"{name} {result.label}")
    for reason, where in cells.items():
        shown = ", ".join(where) if len(where) < 6 else f"{len(where)} cells, such as {where[0]}"
        yield f"- {reason} ({shown})"


def main(names: Sequence[str]) -> bool:
    """Check the architectures, write the page if none is left out, and return whether the promise is kept."""
    listed = yaml.safe_load(LIST.read_text())
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    cores, chosen = sorted(os.sched_getaffinity(0)), list(names) or list(listed)

    def take_core() -> None:  # the processes that a thread starts have its cores
        os.sched_setaffinity(0, {cores.pop()})

    with ThreadPoolExecutor(len(cores), initializer=take_core) as pool:
        found = {}
        for name, results in zip(chosen, pool.map(check, chosen, map(listed.get, chosen)), strict=True):
            found[name] = results
            print(f"{name}: {', '.join(map(cell, results))}", flush=True)
    text = page(found)
    if names:
        print(text)
    else:
        PAGE.write_text(text)
    bad = [result for results in found.values() for result in results if not result.is_harmless]
    for result in bad:
        print(f"NOT KEPT: {result.settings['model.name']} {result.label}: {result.status}: {result.reason}")
    return not bad


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
