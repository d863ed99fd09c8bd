"""``runner inspect FILE``: what a model file is, and the command to start with."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from runner import exit_codes
from runner.config import backend_registry
from runner.errors import Mistake
from runner.processes.inspection import inspect
from runner.protocol import Inspected, PortInfo

TAKES = {"onnx": ("ort", "openvino"), "ir": ("openvino",)}
"""By kind of file, the backends of this package that read it, the one of the baseline first."""
MEASURED = ("fp32", "bf16", "int8")
"""Precisions of the command to start with."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Describe a model file: its inputs and outputs, what takes it, and a command to start with."""
    parser = argparse.ArgumentParser(prog="runner inspect", description=main.__doc__)
    parser.add_argument("file", type=Path, help="an ONNX graph (.onnx) or an OpenVINO IR (.xml)")
    parser.add_argument(
        "shapes", nargs="*", metavar="SHAPE", help="shapes of inputs that the file leaves open, as in ids[batch,128]"
    )
    options = parser.parse_args(arguments)
    found = inspect(options.file, options.shapes)
    if isinstance(found, Mistake):
        print(f"runner inspect: {found}", file=sys.stderr)
        return exit_codes.MISTAKE
    console = Console()
    table = Table(title=str(options.file), show_header=False)
    for row in _rows(found):
        table.add_row(*map(escape, row))
    console.print(table)
    if found.precision != "fp32":
        console.print(f"The file is {found.precision}; model=file takes fp32: export it again.", highlight=False)
        return exit_codes.OK
    console.print("To start with:", highlight=False)
    console.print(f"    {command(options.file, found, options.shapes)}", markup=False, highlight=False, soft_wrap=True)
    return exit_codes.OK


def _rows(found: Inspected) -> Iterator[tuple[str, str]]:
    """Yield what is known of a file, a line for each property."""
    kinds = {"onnx": "ONNX", "ir": "OpenVINO IR"}
    yield "format", f"{kinds[found.kind]}, {found.version}" + (f", by {found.producer}" if found.producer else "")
    for title, ports in (("inputs", found.inputs), ("outputs", found.outputs)):
        yield title, "\n".join(map(_shown, ports))
    yield "batch", "open: batch_size sets it" if found.batch is None else f"{found.batch}, fixed by the file"
    yield "parameters", f"{found.parameters:,}"
    macs = f"{found.macs:,.0f}" if found.macs else "not known"
    yield "multiply-accumulates", f"{macs} per sample" if found.macs else macs
    yield "precision", found.precision
    yield "size", f"{found.size_mib:,.1f} MiB"
    known = backend_registry.backends()
    yield (
        "taken by",
        "\n".join(f"backend={name}: {', '.join(known[name].precisions)}" for name in TAKES[found.kind]),
    )
    if found.problem:
        yield "open extents", found.problem


def _shown(port: PortInfo) -> str:
    return f"{port.name}[{','.join(map(str, port.shape))}]:{port.dtype}"


def command(file: Path, found: Inspected, shapes: Sequence[str] = ()) -> str:
    """Return the command that measures a file, quoted for a shell and for Hydra."""
    words = ["model=file", f"model.path={file}"]
    filled = list(shapes) or [_with_sizes(port) for port in found.inputs if found.problem and _is_open(port)]
    if filled:
        words.append(f"model.shapes=[{','.join(_quoted(shape) for shape in filled)}]")
    words += [f"backend={','.join(TAKES[found.kind])}", f"precision={','.join(MEASURED)}"]
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
