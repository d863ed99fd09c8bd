"""``runner inspect FILE``: what a model file is, and the command to start with."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from runner import exit_codes
from runner.config import backend_registry
from runner.errors import Mistake
from runner.paths import CONF
from runner.processes.inspection import inspect
from runner.protocol import AS_IS, Inspected, PortInfo

MEASURED = ("fp32", "bf16", "int8")
"""Precisions of the command to start with."""

Takers = Mapping[str, Sequence[str]]
"""By backend, the precisions in which it can take a file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Describe a model file: its inputs and outputs, what takes it, and a command to start with."""
    parser = argparse.ArgumentParser(prog="runner inspect", description=main.__doc__)
    parser.add_argument(
        "file",
        type=Path,
        help="an ONNX graph (.onnx), an OpenVINO IR (.xml), an exported program of PyTorch (.pt2), "
        "or a folder in Transformers' format",
    )
    parser.add_argument(
        "shapes", nargs="*", metavar="SHAPE", help="shapes of inputs that the file leaves open, as in ids[batch,128]"
    )
    options = parser.parse_args(arguments)
    forms = _accepted_forms()
    found = inspect(options.file, options.shapes, forms)
    if isinstance(found, Mistake):
        print(f"runner inspect: {found}", file=sys.stderr)
        return exit_codes.MISTAKE
    takers = takers_of(found, forms)
    console = Console()
    table = Table(title=escape(str(options.file)), show_header=False)
    for row in _rows(found, takers):
        table.add_row(*map(escape, row))
    console.print(table)
    console.print("To start with:", highlight=False)
    start = command(options.file, found, takers, options.shapes)
    console.print(f"    {start}", markup=False, highlight=False, soft_wrap=True)
    return exit_codes.OK


def _accepted_forms() -> list[list[str]]:
    """Return the forms that any backend accepts in any precision."""
    known = backend_registry.backends().values()
    return [form for backend in known for forms in backend.forms.values() for form in forms]


def takers_of(found: Inspected, forms: Sequence[Sequence[str]]) -> Takers:
    """Return the backends that can take a file, that of its baseline first, with the precisions.

    Args:
        found: the file.
        forms: those that `found.reachable` is about.
    """
    source = "transformers" if found.kind == "checkpoint" else "file"
    reachable = {tuple(form) for form, is_reachable in zip(forms, found.reachable, strict=True) if is_reachable}
    takers = {
        name: [
            precision for precision, accepted in backend.forms.items() if reachable & {tuple(form) for form in accepted}
        ]
        for name, backend in backend_registry.backends().items()
        if _takes_source(name, source)
    }
    return {name: takers[name] for name in sorted(takers, key=lambda one: one != found.baseline) if takers[name]}


def _takes_source(backend: str, source: str) -> bool:
    """Return whether a backend's environment contains what a source of models needs, by its file in conf/."""
    file = CONF / "backend" / f"{backend}.yaml"
    settings = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
    return not settings.get("sources") or source in settings["sources"]


def _rows(found: Inspected, takers: Takers) -> Iterator[tuple[str, str]]:
    """Yield what is known of a file, a line for each property."""
    yield "format", found.title + (f", by {found.producer}" if found.producer else "")
    if found.task:
        yield "task", found.task
    for title, ports in (("inputs", found.inputs), ("outputs", found.outputs)):
        if ports:
            yield title, "\n".join(map(_shown, ports))
    yield "batch", "open: batch_size sets it" if found.batch is None else f"{found.batch}, fixed by the file"
    yield "parameters", f"{found.parameters:,}"
    yield "multiply-accumulates", f"{found.macs:,.0f} per sample" if found.macs else "not known"
    yield "precision", found.precision
    yield "size", f"{found.size_mib:,.1f} MiB"
    yield "taken by", "\n".join(f"backend={name}: {', '.join(precisions)}" for name, precisions in takers.items())
    if found.problem:
        yield "open extents", found.problem


def _shown(port: PortInfo) -> str:
    return f"{port.name}[{','.join(map(str, port.shape))}]:{port.dtype}"


def command(file: Path, found: Inspected, takers: Takers, shapes: Sequence[str] = ()) -> str:
    """Return the command that measures a file, quoted for a shell and for Hydra."""
    words = ["model=file", f"model.path={file}"]
    filled = list(shapes) or [_with_sizes(port) for port in found.inputs if found.problem and _is_open(port)]
    if filled:
        words.append(f"model.shapes=[{','.join(_quoted(shape) for shape in filled)}]")
    words.append(f"backend={','.join(takers)}")
    precisions = [one for one in MEASURED if any(one in taken for taken in takers.values())]
    words.append(f"precision={','.join(precisions) or AS_IS}")
    return shlex.join(["runner", "-m", *words])


def _quoted(shape: str) -> str:
    """Return a shape as a quoted string of Hydra's grammar."""
    return '"' + shape.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _is_open(port: PortInfo) -> bool:
    return any(isinstance(extent, str) for extent in port.shape)


def _with_sizes(port: PortInfo) -> str:
    """Return a shape with a proposal for each open extent: 128, or batch.

    That is the first one; one of this name; and the only open extent behind a fixed one, as in the state of a recurrent
    network, layers × batch × width.
    """
    is_only = sum(isinstance(extent, str) for extent in port.shape) == 1
    extents = [
        str(extent) if isinstance(extent, int) else "batch" if is_only or axis == 0 or extent == "batch" else "128"
        for axis, extent in enumerate(port.shape)
    ]
    name = port.name if port.name.isidentifier() else f"'{port.name}'"
    return f"{name}[{','.join(extents)}]"
