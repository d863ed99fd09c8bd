"""Every field of the configuration: its type, its default, and why one would change it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from enum import EnumMeta

from docs.generate.markdown import MADE, Described, class_definition, code, described, in_yaml, sentence, table
from runner.config import schema
from runner.config.backend_registry import Option, backends
from runner.paths import PROJECT

FILE = "fields.md"
SCHEMA = PROJECT / "runner/config/schema.py"
MISSING = "MISSING"
"""The value of a field that an option of its group sets."""
ENUM_MEMBER = re.compile(r"[A-Z]\w+(?:\['|\.)([\w-]+)(?:'\])?")
"""Scenario['sync'] or Scope.model."""


def page() -> str:
    """Return the page."""
    lines = ["# Fields", "", MADE, "", "`FIELD=VALUE` on the command line sets one; `FIELD=VALUE,VALUE` makes a sweep."]
    top = list(described(SCHEMA, "RunConfig"))
    groups = [one for one in top if _is_group(one)]
    lines += ["", "## Of a run", "", *_table("", [one for one in top if not _is_group(one)])]
    for group in groups:
        lines += [
            "",
            f"## {group.name}",
            "",
            *_introduction(group.kind),
            *_table(f"{group.name}.", _fields(group.kind)),
        ]
        if group.name == "model":
            lines += ["", "### model.preprocessing", "", *_introduction("PreprocessingConfig")]
            lines += _table("model.preprocessing.", _fields("PreprocessingConfig"))
        if group.name == "backend":
            lines += _options()
    return "\n".join([*lines, ""])


def _is_group(one: Described) -> bool:
    return one.kind.endswith("Config")


def _fields(class_name: str) -> list[Described]:
    return [one for one in described(SCHEMA, class_name) if not _is_group(one)]


def _introduction(class_name: str) -> Iterator[str]:
    text = ast.get_docstring(class_definition(SCHEMA, class_name)) or ""
    yield " ".join(text.split())
    yield ""


def _table(prefix: str, fields: list[Described]) -> list[str]:
    rows = [(code(prefix + one.name), code(_kind(one.kind)), code(_default(one.value)), one.meaning) for one in fields]
    return table(["field", "type", "default", "meaning"], rows)


def _kind(annotation: str) -> str:
    """Return a type; of an enumeration its values."""
    found = getattr(schema, annotation, None)
    return " ".join(found) if isinstance(found, EnumMeta) else annotation


def _default(value: str) -> str:
    """Return a default as one would write it in YAML; empty for what the option of the group decides."""
    if value == MISSING:
        return ""
    if value.startswith("field("):
        return "[]" if "list" in value else "{}"
    if found := ENUM_MEMBER.fullmatch(value):
        return found[1]
    return in_yaml(ast.literal_eval(value))


def _options() -> Iterator[str]:
    for name, backend in sorted(backends().items()):
        if backend.options:
            yield from ("", f"### backend.options of {name}", "")
            rows = [(code(key), code(_allowed(one)), sentence(one.help)) for key, one in backend.options.items()]
            yield from table(["option", "allowed", "meaning"], rows)


def _allowed(option: Option) -> str:
    return " ".join(in_yaml(one) for one in option.choices or option.types)
