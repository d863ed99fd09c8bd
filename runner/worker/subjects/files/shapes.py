"""Shapes of a model's inputs, as a person writes them: ``ids[batch,128]:int64:0..30521``, in benchmark_app's form.

A name may be in quotes; without a name, the shape is that of the only input. An extent is a number, or ``batch`` for
the extent that `batch_size` sets. Behind the brackets may follow a type, and a range for synthetic values.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from runner.worker.failures import Refused
from runner.worker.subjects.subject import BATCH, Port

FIELD = "model.shapes"
_SHAPE = re.compile(
    r"""\s*(?:"(?P<double>[^"]+)"|'(?P<single>[^']+)'|(?P<plain>[^\[\]"']*?))\s*
        \[(?P<extents>[^\[\]]*)\]
        (?::(?P<dtype>[a-z][a-z0-9]*))?
        (?::(?P<low>-?[\d.]+?)\.\.(?P<high>-?[\d.]+))?\s*""",
    re.VERBOSE,
)
EXAMPLE = "[batch,3,224,224], ids[batch,128] or ids[batch,128]:int64:0..30521"


@dataclass(frozen=True)
class Range:
    """The range of an input's synthetic values."""

    low: float
    high: float


@dataclass(frozen=True)
class Shape:
    """One parsed shape."""

    text: str
    name: str
    """Empty if none is given."""
    extents: tuple[int | str, ...]
    dtype: str | None
    range: Range | None


def parse(text: str) -> Shape:
    """Return a shape.

    Raises:
        Refused: it does not have the form that the module describes.
    """
    found = _SHAPE.fullmatch(text)
    if found is None:
        raise Refused(FIELD, text, f"NAME[EXTENT,…], for example {EXAMPLE}", "An extent is a number, or batch")
    extents: list[int | str] = []
    for word in filter(None, (part.strip() for part in found["extents"].split(","))):
        if word != BATCH and not word.isdecimal():
            raise Refused(FIELD, text, "extents that are numbers, or batch", f"Replace {word} by a number")
        extents.append(word if word == BATCH else int(word))
    limits = Range(float(found["low"]), float(found["high"])) if found["low"] else None
    name = found["double"] or found["single"] or found["plain"] or ""
    return Shape(text, name, tuple(extents), found["dtype"], limits)


def apply(texts: Sequence[str], ports: Sequence[Port]) -> tuple[tuple[Port, ...], dict[str, Range]]:
    """Return the inputs with given shapes filled in, and the ranges of synthetic values by name.

    Args:
        texts: shapes as a person writes them.
        ports: the inputs of the file; an extent that it leaves open is a symbol.

    Raises:
        Refused: a name does not exist, a shape does not fit, or an extent remains open.
    """
    given = {_port_of(shape, ports).name: shape for shape in map(parse, texts)}
    filled = tuple(_fill(port, given.get(port.name)) for port in ports)
    return filled, {name: shape.range for name, shape in given.items() if shape.range is not None}


def _port_of(shape: Shape, ports: Sequence[Port]) -> Port:
    names = [port.name for port in ports]
    if not shape.name and len(ports) == 1:
        return ports[0]
    for port in ports:
        if port.name == shape.name:
            return port
    near = ", ".join(difflib.get_close_matches(shape.name, names, n=3, cutoff=0.4)) or ", ".join(names[:5])
    what = f"no input is called {shape.name}" if shape.name else f"the model has {len(ports)} inputs"
    raise Refused(
        FIELD, shape.text, f"shapes of {', '.join(names[:8])}", f"{what[0].upper()}{what[1:]}; nearest: {near}"
    )


def _fill(port: Port, shape: Shape | None) -> Port:
    extents = port.shape
    if shape is not None:
        fits = len(shape.extents) == len(extents) and all(
            isinstance(own, str) or own == wanted for own, wanted in zip(extents, shape.extents, strict=True)
        )
        if not fits:
            raise Refused(FIELD, shape.text, f"a shape that fits {describe(port)}", "Numbers of the file are fixed")
        if shape.dtype is not None and shape.dtype != port.dtype:
            raise Refused(FIELD, shape.text, f"the type of the file, {port.dtype}", "Leave the type out")
        extents = shape.extents
    opened = [extent for axis, extent in enumerate(extents) if isinstance(extent, str) and not _is_batch(extent, axis)]
    if opened:
        example = ",".join(
            BATCH if _is_batch(extent, axis) else "128" if isinstance(extent, str) else str(extent)
            for axis, extent in enumerate(extents)
        )
        raise Refused(
            FIELD,
            None,
            f"a shape for {describe(port)}",
            f"""Add 'model.shapes=["{port.name}[{example}]"]', with your sizes""",
        )
    return Port(port.name, port.dtype, tuple(BATCH if isinstance(extent, str) else extent for extent in extents))


def _is_batch(extent: int | str, axis: int) -> bool:
    """Return whether an open extent is the batch: by its name, or because it is the first."""
    return isinstance(extent, str) and (extent.lower() in ("batch", "batch_size", "n") or axis == 0)


def describe(port: Port) -> str:
    """Return an input in the form that :func:`parse` reads, with its type."""
    return f"{port.name}[{','.join(map(str, port.shape))}]:{port.dtype}"
