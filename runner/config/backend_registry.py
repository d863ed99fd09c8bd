"""Available backends and their options, parsed from source without importing a runtime.

The host never imports torch, timm or a backend, so that it reports a mistake at once. It parses the source files of the
backends instead.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache

from runner.paths import BACKENDS, SUBJECTS, extra_backend_folders


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


@dataclass(frozen=True)
class Backend:
    """What a backend's class declares."""

    options: Options
    """By name, the keyword-only arguments of its constructor."""
    packages: tuple[str, ...]
    """The packages that it needs, apart from those of the model."""
    precisions: tuple[str, ...]
    """The precisions that it implements; empty if its class does not list them."""
    lacks: dict[str, str]
    """By precision, why it does not implement it."""
    forms: dict[str, list[list[str]]]
    """By precision, the kind and the precision of the forms that it accepts, as far as its class lists them."""


_ARGUMENT = re.compile(r"^ {4}(\w+): (.*)$", re.MULTILINE)
"""An argument and the first line of its description, in a Google-style docstring."""


@cache
def backends() -> dict[str, Backend]:
    """Return what every backend declares, by backend name."""
    found: dict[str, Backend] = {}
    for folder in (BACKENDS, *extra_backend_folders()):
        for file in sorted(folder.glob("*.py")):
            backend = _backend(ast.parse(file.read_text(encoding="utf-8")))
            if backend is not None:
                found[file.stem] = backend
    return found


def _backend(module: ast.Module) -> Backend | None:
    """Return what the module's ``Runtime`` declares, None if it defines no backend.

    The ``Runtime`` of :mod:`runner.worker.backends.base` is abstract, not a backend.
    """
    for node in module.body:
        if isinstance(node, ast.ClassDef) and node.name == "Runtime" and not _is_abstract(node):
            constructors = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
            options = _options(constructors[0]) if constructors else {}
            lists = _class_attributes(node)
            accepted = lists.get("accepts")
            keys = accepted.keys if isinstance(accepted, ast.Dict) else []
            return Backend(
                options,
                packages=tuple(ast.literal_eval(lists["packages"])) if "packages" in lists else (),
                precisions=tuple(ast.literal_eval(key) for key in keys if key is not None),
                lacks=dict(ast.literal_eval(lists["lacks"])) if "lacks" in lists else {},
                forms=_forms(accepted) if isinstance(accepted, ast.Dict) else {},
            )
    return None


def _forms(accepted: ast.Dict) -> dict[str, list[list[str]]]:
    """Return the forms in a class's `accepts`, by precision: names of constants, and calls of ``Form``."""
    found: dict[str, list[list[str]]] = {}
    for key, value in zip(accepted.keys, accepted.values, strict=True):
        elements = value.elts if isinstance(value, ast.Tuple) else []
        forms = [_named_forms().get(ast.unparse(one)) or _form(one) for one in elements]
        if key is not None:
            found[ast.literal_eval(key)] = [form for form in forms if form]
    return found


@cache
def _named_forms() -> dict[str, list[str]]:
    """Return the constants of the subjects that are forms, by name."""
    module = ast.parse((SUBJECTS / "subject.py").read_text(encoding="utf-8"))
    assigned = [node for node in module.body if isinstance(node, ast.Assign)]
    return {ast.unparse(node.targets[0]): form for node in assigned if (form := _form(node.value))}


def _form(expression: ast.expr) -> list[str]:
    """Return the kind and the precision of a call of ``Form``; empty for any other expression."""
    if not isinstance(expression, ast.Call) or ast.unparse(expression.func) != "Form":
        return []
    words = [str(one.value) for one in expression.args if isinstance(one, ast.Constant)]
    return [*words, "fp32"][:2] if words else []


def _is_abstract(definition: ast.ClassDef) -> bool:
    return any(isinstance(parent, ast.Name) and parent.id == "ABC" for parent in definition.bases)


def _class_attributes(definition: ast.ClassDef) -> dict[str, ast.expr]:
    """Return the expressions that a class assigns to names, annotated or not."""
    found: dict[str, ast.expr] = {}
    for node in definition.body:
        if isinstance(node, ast.Assign):
            found |= {ast.unparse(target): node.value for target in node.targets}
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            found[ast.unparse(node.target)] = node.value
    return found


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
