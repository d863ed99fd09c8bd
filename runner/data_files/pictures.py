"""Pictures in a folder: which there are, with their labels, which cannot be read, and what a network sees of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from runner.data_files.errors import UnreadableData
from runner.data_files.tables import SUFFIXES as TABLES
from runner.data_files.tables import read_table

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
    ".pnm", ".avif",
)  # fmt: skip
"""Suffixes, in lower case, of the files that are pictures."""
FILE_COLUMNS = ("file", "filename", "file_name", "path", "image")
"""Names of the column with the file in a table of labels, best first; otherwise it is the first column."""
LABEL_COLUMNS = ("label", "class", "labels", "target")
"""Names of the column with the label, likewise; otherwise it is the second column."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of a folder, in a fixed order."""

    root: Path
    files: tuple[Path, ...]
    labels: tuple[object, ...] | None
    """One label per picture as it was found, a word or a number; None if there are none."""
    classes: tuple[str, ...] = ()
    """The folders that stand for classes, with those that hold no picture; () if a table has the labels."""
    notes: tuple[str, ...] = ()
    """What was left out or concluded, for readers of the result."""

    def name(self, index: int) -> str:
        """Return the path of a picture below the folder."""
        return str(self.files[index].relative_to(self.root))


def find_pictures(root: Path, table: Path | None = None) -> Pictures:
    """Return the pictures of a folder, in the order of their paths.

    Labels are those of `table`, or of a single table in the folder, with a file and a label in each record; otherwise
    the names of the folder's subfolders, of which each holds the pictures of a class, at any depth. Pictures of a
    folder without either have no labels. Files and folders whose names start with a dot are skipped.

    Raises:
        UnreadableData: there is no picture; a table names a file that does not exist, or has no label for one.
        OSError: a file cannot be read.
    """
    return _find(root, table, _newest(root, table))


@lru_cache(maxsize=2)
def _find(root: Path, table: Path | None, _changed: int) -> Pictures:
    tables = [table] if table else [one for one in sorted(root.iterdir()) if _is_table(one)]
    files = sorted(file for file in root.rglob("*") if _is_picture(file, root))
    if not files:
        kinds = ", ".join(SUFFIXES)
        raise UnreadableData(f"It contains no picture ({kinds})")
    if len(tables) == 1:
        return _labelled_by_table(root, files, tables[0], given=table is not None)
    classes = sorted({file.relative_to(root).parts[0] for file in files if file.parent != root})
    if not classes:
        return Pictures(
            root, tuple(files), None, (), ("the pictures have no labels: they are in no folder of a class",)
        )
    inside = tuple(file for file in files if file.parent != root)
    outside = len(files) - len(inside)
    notes = [f"{_pictures(outside)} beside the folders of classes left out: no label"] if outside else []
    empty = [one.name for one in root.iterdir() if one.is_dir() and not one.name.startswith((".", "__MACOSX"))]
    if missing := sorted(set(empty) - set(classes)):
        # A network is trained on the folders of a training set; one that is empty here keeps its place.
        notes.append(f"no pictures of {', '.join(missing[:3])}: the class keeps its number")
    labels = tuple(file.relative_to(root).parts[0] for file in inside)
    return Pictures(root, inside, labels, tuple(sorted([*classes, *missing])), tuple(notes))


def _labelled_by_table(root: Path, files: list[Path], table: Path, *, given: bool) -> Pictures:
    """Return the pictures that a table names, with its labels."""
    read = read_table(table)
    file_column = _column(read.columns, FILE_COLUMNS, 0) or ""
    label_column = _column(read.columns, LABEL_COLUMNS, 1)
    known = {str(file.relative_to(root)): file for file in files}
    by_name: dict[str, list[Path]] = {}
    for file in files:
        by_name.setdefault(file.name, []).append(file)
    found: dict[Path, object] = {}
    for number, record in enumerate(read.records, 1):
        name = str(record.get(file_column) or "").strip().replace("\\", "/").removeprefix("./")
        alike = by_name.get(Path(name).name, [])
        if name in known:
            alike = [known[name]]
        if len(alike) != 1:
            raise UnreadableData(f"{table.name}: record {number} names {name!r}, which is no picture in {root.name}")
        label = record.get(label_column) if label_column else None
        if label is None or not str(label).strip():
            raise UnreadableData(f"{table.name}: record {number} has no label: fill it in or remove it")
        found[alike[0]] = label
    chosen = tuple(sorted(found))
    notes = [] if given else [f"labels are those of {table.name}"]
    if len(chosen) < len(files):
        notes.append(f"{_pictures(len(files) - len(chosen))} that {table.name} does not name left out")
    return Pictures(root, chosen, tuple(found[file] for file in chosen), (), (*notes, *read.notes))


def _column(columns: Sequence[str], names: Sequence[str], position: int) -> str | None:
    lower = {column.strip().lower(): column for column in columns}
    for name in names:
        if name in lower:
            return lower[name]
    return columns[position] if position < len(columns) else None


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count:,} pictures"


def _is_picture(file: Path, root: Path) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in file.relative_to(root).parts)
    return not hidden and file.suffix.lower() in SUFFIXES and file.is_file()


def _is_table(file: Path) -> bool:
    return file.suffix.lower() in TABLES and file.is_file() and not file.name.startswith(".")


def _newest(root: Path, table: Path | None) -> int:
    """Return a number that changes if the folder or one of its subfolders does."""
    folders = [root, *(one for one in root.iterdir() if one.is_dir()), *([table] if table else [])]
    return hash(tuple((str(one), one.stat().st_mtime_ns) for one in folders))


def order_of(count: int, seed: int) -> list[int]:
    """Return the order in which the samples of a data set are taken, by a seed."""
    import numpy as np

    return [int(index) for index in np.random.default_rng(seed).permutation(count)]


def find_broken(pictures: Pictures, seed: int, needed: int) -> dict[str, str]:
    """Return the pictures that cannot be read among those that a run takes, with what is wrong.

    Args:
        pictures: those of a folder.
        seed: of the order in which they are taken.
        needed: number of pictures that the run takes: as many good ones are looked for.

    Returns:
        The reason by the path below the folder, for the broken ones.
    """
    return dict(_find_broken(pictures, seed, needed))


@lru_cache(maxsize=4)
def _find_broken(pictures: Pictures, seed: int, needed: int) -> tuple[tuple[str, str], ...]:
    broken: list[tuple[str, str]] = []
    good = 0
    for index in order_of(len(pictures.files), seed):
        if good >= needed:
            break
        file = pictures.files[index]
        try:
            # A small version shows the same damage, and a JPEG is read several times as fast.
            open_picture(file, draft=64)
            good += 1
        except UnreadableData as error:
            broken.append((pictures.name(index), str(error)))
    return tuple(broken)


def open_picture(file: Path, draft: int | None = None) -> Image:
    """Return a picture as people see it, in RGB: upright by its EXIF orientation, 16 bits scaled to 8.

    Of several frames it is the first. Transparency is ignored, as torchvision and timm do.

    Args:
        file: the picture.
        draft: read a JPEG at a reduced size of at least so many pixels, which is faster.

    Raises:
        UnreadableData: it is empty, damaged, or no picture.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        if not file.stat().st_size:
            raise UnreadableData("is empty")
        with Image.open(file) as opened:
            if draft is not None:
                opened.draft(None, (draft, draft))
            opened.load()
            upright = ImageOps.exif_transpose(opened)
        return _to_rgb(upright)
    except UnreadableData:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableData("is no picture, whatever its name says") from error
    except Exception as error:  # each format of Pillow has exceptions of its own, from SyntaxError to struct.error
        raise UnreadableData(f"cannot be read: {str(error).splitlines()[0] if str(error) else repr(error)}") from error


def _to_rgb(picture: Image) -> Image:
    """Return a picture in RGB with 8 bits per channel. Pillow itself would clip larger values to 255."""
    if picture.mode == "RGB":
        return picture
    if picture.mode.startswith(("I", "F")):
        import numpy as np
        from PIL import Image

        values = np.asarray(picture).astype(np.float64)
        # Whole numbers are of 8 or 16 bits; fractions are from 0 to 1, or to 255 as Pillow takes them.
        whole = 255.0 if values.max(initial=0.0) <= 255.0 else 65535.0
        full = 65535.0 if picture.mode.startswith("I;16") else whole
        if picture.mode == "F" and values.max(initial=0.0) <= 1.0:
            full = 1.0
        picture = Image.fromarray(np.clip(np.round(values / full * 255.0), 0, 255).astype(np.uint8))
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("RGB")
