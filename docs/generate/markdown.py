"""Parts of a page, and the descriptions of classes in their source."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

MADE = "*Made from the code by `python -m docs.generate`.*"
"""Stands below the title of every generated page."""


class Described(NamedTuple):
    """A name that a class defines, and the text below it."""

    name: str
    kind: str
    """The annotation of a field; empty for a member of an enumeration."""
    value: str
    """The expression that it is set to; empty if there is none."""
    meaning: str


def described(file: Path, class_name: str) -> Iterator[Described]:
    """Yield the fields of a dataclass, or the members of an enumeration; the meaning of an undescribed one is empty."""
    body = class_definition(file, class_name).body
    for node, following in zip(body, [*body[1:], ast.Pass()], strict=True):
        target = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(node, ast.Assign):
            target = node.targets[0] if isinstance(node.targets[0], ast.Name) else None
        if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(target, ast.Name):
            continue
        text = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = " ".join(str(following.value.value).split())
        kind = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
        yield Described(target.id, kind, ast.unparse(node.value) if node.value else "", text)


def class_definition(file: Path, name: str) -> ast.ClassDef:
    """Return a class of a source file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    [found] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    return found


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *cells)]


def code(text: object) -> str:
    """Return a text as code; an empty one stays empty."""
    return f"`{text}`" if str(text) else ""


def in_yaml(value: object) -> str:
    """Return a plain value as one writes it in YAML."""
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


def sentence(text: str) -> str:
    """Return a text with a capital first letter."""
    return text[:1].upper() + text[1:]
