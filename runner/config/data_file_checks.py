"""Checks of the files of data that a configuration names, made before anything is launched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from runner.config.schema import DataConfig, DataKind, RunConfig
from runner.data_files import arrays, tables
from runner.data_files.errors import UnreadableData
from runner.data_files.pictures import find_broken, find_pictures
from runner.errors import Mistake

FOLDER = "a folder of pictures, by class in folders, with a table of file and label, or without labels"
SHOWN = 3
"""Broken pictures that a message names."""


def check_data_files(config: RunConfig) -> list[Mistake]:
    """Return the mistakes in the files of data, and in settings of data that has none."""
    data = config.data
    for name, value, kind in (
        ("labels", data.labels, DataKind.image_folder),
        ("columns", dict(data.columns) or None, DataKind.text_file),
        ("logits", data.logits, DataKind.arrays),
    ):
        if value is not None and data.name is not kind:
            return [Mistake(f"data.{name}", value, f"only with data={kind}", f"Add data={kind}")]
    if not 0 <= data.max_broken < 1:
        return [Mistake("data.max_broken", data.max_broken, "a share from 0 up to, but not including, 1")]
    check = CHECKS.get(data.name)
    if check is None:
        if data.path is None:
            return []
        kinds = " or ".join(f"data={kind}" for kind in CHECKS)
        return [Mistake("data.path", data.path, f"only with {kinds}", "Add the one that it is")]
    try:
        return check(config)
    except UnreadableData as error:
        return [Mistake("data.path", data.path, _allowed(config), str(error))]
    except OSError as error:
        return [Mistake("data.path", data.path, _allowed(config), f"It cannot be read: {error.strerror or error}")]


def broken_pictures(config: RunConfig) -> list[str]:
    """Return the pictures that cannot be read among those that a run takes, as paths below the folder."""
    if config.data.name is not DataKind.image_folder or config.data.path is None:
        return []
    found = find_pictures(*_folder(config.data))
    return sorted(find_broken(found, config.seed, _requested(config.data)))


def _folder(data: DataConfig) -> tuple[Path, Path | None]:
    return Path(data.path or "").absolute(), Path(data.labels).absolute() if data.labels else None


def _requested(data: DataConfig) -> int:
    return data.evaluation_samples + data.calibration_samples


def _check_pictures(config: RunConfig) -> list[Mistake]:
    data = config.data
    if data.path is None:
        return [Mistake("data.path", None, FOLDER, "Add data.path=…")]
    if not Path(data.path).is_dir():
        what = "It is a file" if Path(data.path).exists() else "No such folder exists: check the path"
        return [Mistake("data.path", data.path, FOLDER, what)]
    if data.labels is not None and not Path(data.labels).is_file():
        return [Mistake("data.labels", data.labels, "a file that exists", "Check the path")]
    found, requested = find_pictures(*_folder(data)), _requested(data)
    if mistakes := _too_few(data, len(found.files), "pictures"):
        return mistakes
    broken = find_broken(found, config.seed, requested)
    tried = min(len(found.files), requested + len(broken))
    if len(broken) > data.max_broken * tried:
        first = "; ".join(f"{name} {reason}" for name, reason in list(broken.items())[:SHOWN])
        more = f"; and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
        allowed = f"a folder in which at most {data.max_broken:.1%} of the pictures cannot be read"
        remedy = f"{len(broken)} of {tried} cannot: {first}{more}. Repair or remove them, or raise data.max_broken"
        return [Mistake("data.path", data.path, allowed, remedy)]
    return _too_few(data, len(found.files) - len(broken), "readable pictures")


def _too_few(data: DataConfig, found: int, what: str) -> list[Mistake]:
    requested = _requested(data)
    if found >= requested:
        return []
    allowed = f"at least {requested} {what} (data.evaluation_samples and data.calibration_samples together)"
    advice = f"It holds {found}: add data.evaluation_samples={max(1, found * 3 // 4)} "
    advice += f"data.calibration_samples={max(1, found - max(1, found * 3 // 4))}" if found > 1 else "and more of them"
    return [Mistake("data.path", data.path, allowed, advice if found > 1 else f"It holds {found}")]


def _check_texts(config: RunConfig) -> list[Mistake]:
    file = _file(config.data, tables.SUFFIXES, _allowed(config))
    if isinstance(file, Mistake):
        return [file]
    records = tables.records_for(tables.read_table(file), str(config.model.task), config.data.columns)
    known = tables.COLUMNS[str(config.model.task)]
    if unknown := [name for name in config.data.columns if name not in known]:
        return [Mistake("data.columns", unknown[0], f"names among {', '.join(known)} for {config.model.task}")]
    return _too_few(config.data, len(records), "records")


def _check_arrays(config: RunConfig) -> list[Mistake]:
    file = _file(config.data, arrays.SUFFIXES, _allowed(config))
    if isinstance(file, Mistake):
        return [file]
    return _too_few(config.data, arrays.describe_arrays(file).samples, "samples")


def _file(data: DataConfig, suffixes: tuple[str, ...], allowed: str) -> Path | Mistake:
    if data.path is None:
        return Mistake("data.path", None, allowed, "Add data.path=…")
    file = Path(data.path)
    if not file.is_file():
        what = "It is a folder" if file.is_dir() else "No such file exists: check the path"
        return Mistake("data.path", data.path, allowed, what)
    if file.suffix.lower() not in suffixes:
        return Mistake("data.path", data.path, allowed, f"It ends in {file.suffix or 'nothing'}")
    return file


def _allowed(config: RunConfig) -> str:
    kind = config.data.name
    if kind is DataKind.image_folder:
        return FOLDER
    if kind is DataKind.arrays:
        return "a file of NumPy (.npz or .npy) with an array for each input"
    columns = ", ".join(tables.COLUMNS.get(str(config.model.task), ()))
    return f"a file ({', '.join(tables.SUFFIXES)}) with the columns {columns}"


CHECKS: dict[DataKind, Callable[[RunConfig], list[Mistake]]] = {
    DataKind.image_folder: _check_pictures,
    DataKind.text_file: _check_texts,
    DataKind.arrays: _check_arrays,
}
"""By kind of data that is read from a file, its check."""
