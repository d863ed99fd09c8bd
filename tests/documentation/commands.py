"""The commands that the documentation shows, and a folder in which all of them can be tried."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from runner.paths import PROJECT
from tests.reporting.page.sweeps import written

PAGES = sorted(
    file
    for pattern in ("*.md", "docs/**/*.md", "experiments/*/README.md", "examples/**/*.md")
    for file in PROJECT.glob(pattern)
    if file.name not in ("CHANGELOG.md", "files-of-others.md")  # commands of their time, and with files of a registry
)  # fmt: skip
FENCED = re.compile(
    r"(?:^<!-- run:(?P<real>.*)-->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL
)
"""A block of code, and the overrides in a comment above it: its first command that measures is then run for real."""
INLINE = re.compile(r"`((?:[A-Z_]+=\S+ )?(?:runner|python -m runner) [^`\n]+)`")
PROGRAM = re.compile(
    r"(?P<refused>\$ )?(?P<variables>(?:[A-Z_]+=\S+ )*)(?:runner|python -m runner)(?: (?P<words>.*))?$"
)
PLACEHOLDERS = {
    "FOLDER": "hub",
    "NAME": "last",
    "whole": "last",
    "FILE": "mine.onnx",
    "BEFORE": "2026-10-27",
    "AFTER": "last",
    "A": "2026-10-27",
    "B": "last",
    "[C …]": "",
    "ort_before": "ort",
    "[SWEEP]": "",
    "/data/imagenet/val": "pictures",
}
"""Words of the documentation that stand for something of the reader's own."""
SWEEPS = ("2026-09-27_10-00-00", "2026-10-27_10-00-00", "2026-11-21_15-02-11", "2026-11-27_20-15-00")
OPTIONS_PAGE = "docs/reference/groups.md"
UNFINISHED = SWEEPS[2]
SKETCHES = ("VERB", "GROUP", " … ", "sleepy")
"""Parts of what is no command but its form, or that of a page's own example, which has a test of its own."""


ONLY_NAMED = (("compare",), ("inspect",))
"""Verbs in a sentence that need an argument."""


@dataclass(frozen=True)
class Shown:
    """A command on a page."""

    page: str
    words: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()
    refused: bool = False
    """Whether the page shows how the program refuses it: it begins with a dollar sign."""
    real: tuple[str, ...] | None = None
    """Overrides for a run of it; None if it is only tried."""

    def __str__(self) -> str:
        """Return the page and the command, for the names of tests."""
        return f"{self.page}: {shlex.join(self.words)}"


def shown() -> list[Shown]:
    """Return every command once, with the first page that shows it.

    A single choice of the page of all options is left out: tests/config composes every option.
    """
    found: dict[tuple[object, ...], Shown] = {}
    for one in (one for page in PAGES for one in _of_page(page)):
        if one.page != OPTIONS_PAGE or len(one.words) > 1:
            found.setdefault((one.words, one.variables, one.real), one)
    return list(found.values())


def _of_page(page: Path) -> Iterator[Shown]:
    text, name = page.read_text(encoding="utf-8"), str(page.relative_to(PROJECT))
    for block in FENCED.finditer(text):
        real = shlex.split(block["real"]) if block["real"] is not None else None
        for line in block["code"].replace("\\\n", " ").splitlines():
            one = _parse(name, line, real)
            if one is not None:
                real = None if one.real is not None else real
                yield one
    for line in INLINE.findall(FENCED.sub("", text)):
        one = _parse(name, line, None)
        if one is not None and one.words not in ONLY_NAMED:
            yield one


def _parse(page: str, line: str, real: list[str] | None) -> Shown | None:
    """Return the command of a line; None if it is none."""
    found = PROGRAM.match(line.strip())
    if found is None or any(sketch in line for sketch in SKETCHES):
        return None
    words = found["words"] or ""
    for placeholder, own in PLACEHOLDERS.items():
        words = re.sub(rf"(?<![\w/]){re.escape(placeholder)}(?![\w/])", own, words)
    verb = words.split(" ", 1)[0].isidentifier()
    variables = tuple(tuple(word.split("=", 1)) for word in shlex.split(found["variables"]))
    return Shown(
        page,
        tuple(shlex.split(words, comments=True)),
        variables,
        bool(found["refused"]) and not verb,
        None if real is None or verb else tuple(real),
    )


def write_desk(folder: Path) -> Path:
    """Write every file that the documentation names, and sweeps of the dates that it names, and return the folder."""
    from tests.worker.subjects.models import one_convolution, two_inputs

    folder.mkdir()
    one_convolution(folder / "mine.onnx", batch="batch")
    for name in ("int8.onnx", "model.onnx"):
        shutil.copy(folder / "mine.onnx", folder / name)
    two_inputs(folder / "two_inputs.onnx")
    two_inputs(folder / "ranker.onnx")
    generator = np.random.default_rng(0)
    np.savez(folder / "val.npz", image=generator.standard_normal((600, 1, 6, 10)).astype(np.float32))
    pairs = {name: generator.integers(0, 2, (600, 16)) for name in ("ids", "mask")}
    np.savez(folder / "ranker.npz", **pairs)
    _write_weights(folder)
    _write_samples(folder)
    shutil.copytree(PROJECT / "examples", folder / "examples")
    (folder / "my_models").mkdir()
    module = re.search(
        r"```python\n(# my_models.*?)```", (PROJECT / "docs/how-to/your-model.md").read_text(), re.DOTALL
    )
    assert module is not None
    (folder / "my_models" / "tiny.py").write_text(module[1])
    for name in SWEEPS:
        written(folder / "outputs" / "sweeps" / name, ["ort fp32", "ort int8"])
    for outputs in ("before", "after"):
        written(folder / outputs / "sweeps" / SWEEPS[0], ["ort fp32", "ort int8"])
    (folder / "outputs" / "sweeps" / UNFINISHED / "001" / "result.json").unlink()
    _change_a_setting(folder / "outputs" / "sweeps" / SWEEPS[-1])
    return folder


def _change_a_setting(sweep: Path) -> None:
    """Let a sweep differ from the others in its threads."""
    for file in (sweep / "plan.json", *sweep.glob("*/result.json")):
        content = json.loads(file.read_text())
        if "runs" in content:
            for run in content["runs"]:
                run["overrides"].append("threading=one_thread")
        else:
            content["settings"]["threading.name"] = "one_thread"
        file.write_text(json.dumps(content))


def _write_weights(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from runner.worker.libraries import declare_torchvision_operators

    declare_torchvision_operators()
    from torchvision.models import resnet18, resnet34, resnet50

    torch.save({"state_dict": resnet18(num_classes=2).state_dict()}, folder / "last.ckpt")
    torch.save(resnet34(num_classes=3).state_dict(), folder / "r34.pth")
    save_file(resnet50(num_classes=10).state_dict(), folder / "model.safetensors")
    (folder / "hub").mkdir()
    config = {"model_type": "distilbert", "architectures": ["DistilBertForSequenceClassification"], "n_layers": 1}
    (folder / "hub" / "config.json").write_text(json.dumps(config))


def _write_samples(folder: Path) -> None:
    for label in ("cats", "dogs"):
        (folder / "pictures" / label).mkdir(parents=True)
        for number in range(300):
            Image.new("RGB", (32, 32), (number % 256, 0, 0)).save(folder / "pictures" / label / f"{number}.png")
    (folder / "sst2.csv").write_text("text,label\n" + "a text,1\nanother,0\n" * 400)
    (folder / "texts.csv").write_text("text\n" + "a text\nanother\n" * 400)
    (folder / "reviews.csv").write_text("review,stars\n" + "a text,1\nanother,0\n" * 400)
