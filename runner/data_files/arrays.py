"""Arrays of NumPy in a file: one for each input of a model, with a sample in each row, and optionally labels."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.data_files.errors import UnreadableData

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES = (".npz", ".npy")
LABELS = ("labels", "label", "targets", "target", "y")
"""Names of the array with labels, best first."""
ONLY = ""
"""Name of the array in a .npy file, which has none."""


@dataclass(frozen=True)
class ArraySpec:
    """One array."""

    name: str
    shape: tuple[int, ...]
    """The first extent is the number of samples."""
    dtype: str


@dataclass(frozen=True)
class Arrays:
    """The arrays of a file, described: the values are read by :func:`read_array`."""

    path: Path
    inputs: tuple[ArraySpec, ...]
    labels: ArraySpec | None

    @property
    def samples(self) -> int:
        """Number of samples."""
        return self.inputs[0].shape[0]

    def find(self, name: str, count: int) -> ArraySpec:
        """Return the array for an input of a model.

        Args:
            name: of the input.
            count: number of the model's inputs; a single array is for a single input, whatever their names.

        Raises:
            UnreadableData: there is none.
        """
        for one in self.inputs:
            if one.name == name or (count == 1 and len(self.inputs) == 1):
                return one
        known = ", ".join(one.name or "one without a name" for one in self.inputs)
        raise UnreadableData(f"It has no array {name}, which the model takes. Its arrays: {known}: rename one")


def describe_arrays(path: Path) -> Arrays:
    """Return the arrays of a file; only their headers are read.

    Raises:
        UnreadableData: it is no file of NumPy, holds Python objects, or its arrays differ in the number of samples.
        OSError: it cannot be opened.
    """
    specs = _headers(path)
    labels = next((spec for name in LABELS for spec in specs if spec.name.lower() == name), None)
    inputs = tuple(spec for spec in specs if spec is not labels)
    if not inputs:
        raise UnreadableData("It holds no array for an input: save one by the name of the input")
    for spec in specs:
        if not spec.shape:
            raise UnreadableData(f"Its array {spec.name} is a single number: the first extent must be the samples")
        if spec.shape[0] != inputs[0].shape[0]:
            first = inputs[0]
            raise UnreadableData(
                f"Its arrays differ in the number of samples: {first.name or 'the first'} has {first.shape[0]}, "
                f"{spec.name} has {spec.shape[0]}"
            )
    if labels is not None and (len(labels.shape) != 1 or labels.dtype.startswith(("f", "c"))):
        raise UnreadableData(
            f"Its array {labels.name} is {labels.dtype} of shape {list(labels.shape)}: labels are one whole number or "
            "word for each sample"
        )
    return Arrays(path, inputs, labels)


def _headers(path: Path) -> list[ArraySpec]:
    from numpy.lib import format as npy

    def header(stream: Any, name: str) -> ArraySpec:
        major, _ = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0
        shape, _, dtype = read(stream)
        if dtype.hasobject:
            raise UnreadableData(
                f"Its array {name or 'without a name'} holds Python objects, which may run code: save it as numbers"
            )
        return ArraySpec(name, shape, dtype.name if dtype.kind != "U" else "str")

    try:
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                return [header(file, ONLY)]
        found = []
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as stream:
                    found.append(header(stream, member.removesuffix(".npy")))
        return found
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise UnreadableData(f"It is not a file of NumPy: {str(error).splitlines()[0]}") from error


def read_array(path: Path, name: str) -> NDArray[Any]:
    """Return the values of an array; those of a .npy file stay on disk until they are used.

    Raises:
        UnreadableData: they are damaged.
    """
    import numpy as np

    try:
        if path.suffix.lower() == ".npy":
            single: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
            return single
        with np.load(path, allow_pickle=False) as stored:
            values: NDArray[Any] = stored[name]
            return values
    except (ValueError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise UnreadableData(f"Its array {name} is damaged: {str(error).splitlines()[0]}") from error
