"""Available backends and their options, parsed from source without importing a runtime.

The host never imports torch, timm or a backend, so that it reports a mistake at once. It parses the source files of the
backends instead.
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
    """One option of a backend: a keyword argument of its constructor."""

    default: object
    choices: tuple[object, ...]
    """Allowed values; empty if the option accepts any value of its types."""
    help: str
    """Description, from the constructor's docstring."""
    types: tuple[str, ...] = ()
    """Types in its annotation (int, float, str, None); empty if `choices` lists the values."""

    def accepts_type_of(self, value: object) -> bool:
        """Return whether the type of `value` is one of the option's types."""
        return not self.types or ("None" if value is None else type(value).__name__) in self.types


Options = dict[str, Option]

_ARGUMENT = re.compile(r"^ {4}(\w+): (.*)$", re.MULTILINE)
"""An argument and the first line of its description, in a Google-style docstring."""


@cache
def backend_options(*, transformers: bool = False) -> dict[str, Options]:
    """Return the options of every backend, by backend name: the keyword-only arguments of its constructor.

    Args:
        transformers: return the backends for Transformers models instead of those for torchvision and timm networks.
    """
    found: dict[str, Options] = {}
    for folder in (BACKENDS, *extra_backend_folders()):
        for file in sorted(folder.glob("*.py")):
            if file.stem.startswith(TRANSFORMERS_PREFIX) is not transformers:
                continue
            options = _constructor_options(ast.parse(file.read_text(encoding="utf-8")))
            if options is not None:
                found[file.stem.removeprefix(TRANSFORMERS_PREFIX)] = options
    return found


def _constructor_options(module: ast.Module) -> Options | None:
    """Return the options of the module's ``Runtime``, None if it defines no backend.

    The ``Runtime`` of :mod:`runner.worker.backends.base` is the protocol that backends implement, not a backend.
    """
    for node in module.body:
        if isinstance(node, ast.ClassDef) and node.name == "Runtime" and not _is_protocol(node):
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                    return _options(item)
            return {}
    return None


def _is_protocol(definition: ast.ClassDef) -> bool:
    return any(isinstance(parent, ast.Name) and parent.id == "Protocol" for parent in definition.bases)


def _options(constructor: ast.FunctionDef) -> Options:
    descriptions = dict(_ARGUMENT.findall(ast.get_docstring(constructor) or ""))
    return {
        argument.arg: Option(
            default=ast.literal_eval(default) if default else None,
            choices=_choices(argument.annotation),
            help=descriptions.get(argument.arg, ""),
            types=_types(argument.annotation),
        )
        for argument, default in zip(constructor.args.kwonlyargs, constructor.args.kw_defaults, strict=True)
    }


def _types(annotation: ast.expr | None) -> tuple[str, ...]:
    """Return the type names in an annotation such as ``int | None``; empty for any other form."""
    names = ast.unparse(annotation).split(" | ") if annotation is not None else []
    return tuple(names) if names and {*names} <= {"int", "float", "str", "None"} else ()


def _choices(annotation: ast.expr | None) -> tuple[object, ...]:
    """Return the values that an annotation enumerates: ``Literal[…]`` or ``bool``; empty for any other form."""
    if annotation is None:
        return ()
    for node in ast.walk(annotation):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal":
            choices = tuple(ast.literal_eval(node.slice)) if isinstance(node.slice, ast.Tuple) else ()
            return choices if annotation is node else (*choices, None)  # Literal[…] | None
    return (True, False) if isinstance(annotation, ast.Name) and annotation.id == "bool" else ()
