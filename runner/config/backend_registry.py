"""What can be asked for, told without importing a runtime: names of models, backends and their options.

The host must answer a mistake in a moment, and never loads torch, timm or a backend. So the names are read from the
sources of the installed packages, as text.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from runner.paths import BACKENDS, extra_backend_folders
from runner.protocol import IMAGE_SUFFIXES, TRANSFORMERS_PREFIX

WEIGHT_SUFFIXES = (".pt", ".pth", ".safetensors")


@dataclass(frozen=True)
class Option:
    """One keyword of a backend's constructor."""

    default: object
    words: tuple[object, ...]
    """The values that it allows; none where they are not a closed list."""
    help: str
    """What the constructor's docstring says of it."""
    kinds: tuple[str, ...] = ()
    """The types that its annotation names: int, float, str, None; none where words say all."""

    def takes(self, value: object) -> bool:
        """Return whether a value is of one of the types that the option has."""
        return not self.kinds or ("None" if value is None else type(value).__name__) in self.kinds


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


def nearest(name: str, known: Iterable[str], count: int = 5) -> list[str]:
    """Return the known names that are most like `name`, best first."""
    return difflib.get_close_matches(name, list(known), n=count, cutoff=0.4)


TASK_TABLES = {
    "text-classification": "SEQUENCE_CLASSIFICATION",
    "question-answering": "QUESTION_ANSWERING",
    "text-generation": "CAUSAL_LM",
    "image-classification": "IMAGE_CLASSIFICATION",
}
"""Tasks, and what Transformers calls its table of the architectures that can do them."""


@cache
def _architectures_by_task() -> dict[str, frozenset[str]]:
    """Return what Transformers registers, empty where it is not installed."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        return {}
    source = (Path(spec.origin).parent / "models" / "auto" / "modeling_auto.py").read_text(encoding="utf-8")
    found = {}
    for task, table in TASK_TABLES.items():
        entries = re.search(
            rf"^MODEL_FOR_{table}_MAPPING_NAMES = OrderedDict\(\n(.*?)^\)", source, re.MULTILINE | re.DOTALL
        )
        found[task] = frozenset(re.findall(r'^ +\("([\w.-]+)",', entries.group(1), re.MULTILINE) if entries else ())
    return found


def architectures() -> frozenset[str]:
    """Return the kinds of models that Transformers has for any of the tasks."""
    return frozenset().union(*_architectures_by_task().values())


def tasks_of(architecture: str) -> list[str]:
    """Return what an architecture can do."""
    return [task for task, known in _architectures_by_task().items() if architecture in known]


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
    """Return the names in an annotation like ``int | None``, none where it is of another form."""
    found = ast.unparse(annotation).split(" | ") if annotation is not None else []
    return tuple(found) if found and {*found} <= {"int", "float", "str", "None"} else ()


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
