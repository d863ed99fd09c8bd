"""The backends and their options, read without importing a runtime.

The host must answer a mistake in a moment, and never loads torch, timm or a backend. So the names are read from the
sources of the installed packages, as text.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache

from runner.paths import BACKENDS, extra_backend_folders
from runner.protocol import TRANSFORMERS_PREFIX


@dataclass(frozen=True)
class Option:
    """One keyword of a backend's constructor."""

    default: object
    words: tuple[object, ...]
    """The values that it allows; empty if they are not a closed list."""
    help: str
    """Its description in the constructor's docstring."""
    kinds: tuple[str, ...] = ()
    """The types that its annotation names: int, float, str, None; empty if `words` lists its values."""

    def takes(self, value: object) -> bool:
        """Return whether a value is of one of the types that the option has."""
        return not self.kinds or ("None" if value is None else type(value).__name__) in self.kinds


Options = dict[str, Option]

_DESCRIBED = re.compile(r"^ {4}(\w+): (.*)$", re.MULTILINE)
"""An argument and the first line of its description, in a docstring of Google's style."""


@cache
def backend_options(*, hub: bool = False) -> dict[str, Options]:
    """Return the options of every backend: the keywords behind the bare ``*`` of its constructor.

    Args:
        hub: of those that run models of Transformers; else of those that run networks of torchvision and timm.
    """
    found: dict[str, Options] = {}
    for folder in (BACKENDS, *extra_backend_folders()):
        for file in sorted(folder.glob("*.py")):
            if file.stem.startswith(TRANSFORMERS_PREFIX) is not hub:
                continue
            options = _constructor_options(ast.parse(file.read_text(encoding="utf-8")))
            if options is not None:
                found[file.stem.removeprefix(TRANSFORMERS_PREFIX)] = options
    return found


def _constructor_options(module: ast.Module) -> Options | None:
    for node in module.body:
        if isinstance(node, ast.ClassDef) and node.name == "Runtime":
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                    return _options(item)
            return {}
    return None


def _options(constructor: ast.FunctionDef) -> Options:
    described = dict(_DESCRIBED.findall(ast.get_docstring(constructor) or ""))
    return {
        argument.arg: Option(
            default=ast.literal_eval(default) if default else None,
            words=_words(argument.annotation),
            help=described.get(argument.arg, ""),
            kinds=_kinds(argument.annotation),
        )
        for argument, default in zip(constructor.args.kwonlyargs, constructor.args.kw_defaults, strict=True)
    }


def _kinds(annotation: ast.expr | None) -> tuple[str, ...]:
    """Return the names in an annotation like ``int | None``, none if it has another form."""
    found = ast.unparse(annotation).split(" | ") if annotation is not None else []
    return tuple(found) if found and {*found} <= {"int", "float", "str", "None"} else ()


def _words(annotation: ast.expr | None) -> tuple[object, ...]:
    """Return the values that an annotation lists: ``Literal[…]`` and ``bool``."""
    if annotation is None:
        return ()
    for node in ast.walk(annotation):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal":
            words = tuple(ast.literal_eval(node.slice)) if isinstance(node.slice, ast.Tuple) else ()
            return words if annotation is node else (*words, None)  # Literal[…] | None
    return (True, False) if isinstance(annotation, ast.Name) and annotation.id == "bool" else ()
