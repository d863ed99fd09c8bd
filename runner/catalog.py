"""What can be asked for, told without importing a runtime: names of models, backends and their options.

The host must answer a mistake in a moment, and never loads torch, timm or a backend. So the names are read from the
sources of the installed packages, as text.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from runner.worker import backends
from runner.worker.datasets import IMAGE_SUFFIXES

WEIGHT_SUFFIXES = (".pt", ".pth", ".safetensors")


@dataclass(frozen=True)
class Option:
    """One keyword of a backend's constructor."""

    default: object
    words: tuple[object, ...]
    """The values that it allows; none where they are not a closed list."""
    help: str
    """What the constructor's docstring says of it."""


Options = dict[str, Option]

_DESCRIBED = re.compile(r"^ {4}(\w+): (.*)$", re.MULTILINE)
"""An argument and the first line of what is said of it, in a docstring of Google's style."""

_REGISTERED = re.compile(r"^@register_model(?:\([^)]*\))?\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


@cache
def model_names(source: str) -> frozenset[str]:
    """Return the classification models that a library registers, empty where it is not installed.

    Args:
        source: ``torchvision`` or ``timm``.
    """
    spec = importlib.util.find_spec(source)
    if spec is None or spec.origin is None:
        return frozenset()
    models = Path(spec.origin).parent / "models"
    # Only the files of the folder itself: torchvision keeps detection, segmentation and video in folders below it.
    return frozenset(
        name for file in sorted(models.glob("*.py")) for name in _REGISTERED.findall(file.read_text(encoding="utf-8"))
    )


@cache
def backend_options() -> dict[str, Options]:
    """Return the options of every backend: the keywords behind the bare ``*`` of its constructor."""
    found: dict[str, Options] = {}
    for folder in map(Path, backends.__path__):
        for file in sorted(folder.glob("*.py")):
            options = _constructor_options(ast.parse(file.read_text(encoding="utf-8")))
            if options is not None:
                found[file.stem] = options
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
        )
        for argument, default in zip(constructor.args.kwonlyargs, constructor.args.kw_defaults, strict=True)
    }


def _words(annotation: ast.expr | None) -> tuple[object, ...]:
    """Return the values that an annotation allows where it lists them: ``Literal[…]`` and ``bool``."""
    if annotation is None:
        return ()
    for node in ast.walk(annotation):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal":
            words = tuple(ast.literal_eval(node.slice)) if isinstance(node.slice, ast.Tuple) else ()
            return words if annotation is node else (*words, None)  # Literal[…] | None
    return (True, False) if isinstance(annotation, ast.Name) and annotation.id == "bool" else ()


def count_images(folder: Path) -> int:
    """Return how many images lie in the class folders of `folder`."""
    return sum(1 for path in folder.glob("[!.]*/*") if path.suffix.lower() in IMAGE_SUFFIXES)
