"""The config groups and their options: what the comments of their files say."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from docs.generate.markdown import MADE, code, table
from runner.paths import CONF

FILE = "groups.md"

COMMAND = re.compile(r"\s{2,}((?:[A-Z_]+=\S+ )?runner .*)$")
"""An example at the end of a comment, or on a line of its own."""


def page() -> str:
    """Return the page."""
    lines = [
        *("# Groups and options", "", MADE, ""),
        "A run is a choice from each group; a comma makes a sweep. `GROUP=OPTION` is `conf/GROUP/OPTION.yaml`.",
        "What an option sets can be set one by one as well: [fields](fields.md).",
    ]
    defaults = _defaults()
    for folder in sorted(path for path in CONF.iterdir() if path.is_dir() and path.name != "experiments"):
        chosen = defaults.get(folder.name, "")
        lines += ["", f"## {folder.name}", "", f"Default: {code(chosen)}.", ""]
        options = [(code(file.stem), *_comment(file)) for file in sorted(folder.glob("*.yaml"))]
        lines += table(["option", "when to use it", "example"], options)
    return "\n".join([*lines, ""])


def _defaults() -> dict[str, str]:
    """Return the option of each group that a command takes without one."""
    listed = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    return {group: str(option) for entry in listed if isinstance(entry, dict) for group, option in entry.items()}


def _comment(file: Path) -> tuple[str, str]:
    """Return what the comment at the top of an option's file says, and its examples."""
    texts: list[str] = []
    examples: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.removeprefix("#")
        if text.strip().startswith("@package"):
            continue
        if found := COMMAND.search(text):
            examples.append(code(found[1]))
            text = text[: found.start()]
        texts.append(text.strip())
    return " ".join(filter(None, texts)), "<br>".join(examples)
