"""Records in a file: CSV with any separator and encoding, JSON, JSON lines or Parquet."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from runner.data_files.errors import UnreadableData

SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
"""Separators of fields, with their names; the first is what CSV means."""
SEPARATED = (".csv", ".tsv", ".tab", ".txt")
JSON_LINES = (".jsonl", ".ndjson")
SUFFIXES = (*SEPARATED, *JSON_LINES, ".json", ".parquet")
"""Suffixes, in lower case, of the files that :func:`read_table` reads."""
MAX_FIELD = 1 << 30
"""Longest field of a CSV file, in characters; Python's own limit, 131,072, is less than a long article."""
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Encodings by the bytes with which a file starts. UTF-32 stands first: its mark starts with that of UTF-16."""


@dataclass(frozen=True)
class Table:
    """The records of a file."""

    columns: tuple[str, ...]
    records: list[dict[str, Any]]
    """One value by column; a column that a record lacks is not in it."""
    notes: tuple[str, ...] = ()
    """What was concluded about the file, for readers of the result: its encoding, its separator."""

    def find(self, wanted: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
        """Return the file's column for each wanted one.

        Args:
            wanted: names of columns.
            given: by wanted name, the name in the file. Others have their own name, in upper or lower case.

        Raises:
            UnreadableData: a column does not exist; the message says which the file has.
        """
        found: dict[str, str] = {}
        for name in wanted:
            asked = given.get(name, name)
            alike = [column for column in self.columns if column.strip().lower() == asked.strip().lower()]
            if asked in self.columns:
                found[name] = asked
            elif len(alike) == 1:
                found[name] = alike[0]
        if missing := [given.get(name, name) for name in wanted if name not in found]:
            example = ", ".join(f"{name}: NAME" for name in wanted if name not in found)
            raise UnreadableData(
                f"Missing: {', '.join(missing)}. Its columns: {', '.join(self.columns) or 'none'}. "
                f"Name them with 'data.columns={{{example}}}'"
            )
        return found


COLUMNS = {
    "text-classification": ("text", "label"),
    "question-answering": ("question", "context", "answers"),
    "text-generation": ("text",),
    "embedding": ("text",),
}
"""Columns that the texts of a task need, by the task."""
MAY_BE_EMPTY = ("answers",)
"""Columns that may be empty: a question can have no answer in its text."""


def records_for(table: Table, task: str, given: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the records of a table, by the names of columns that a task knows.

    Args:
        table: the file.
        task: a key of COLUMNS.
        given: by the task's name of a column, the name in the file.

    Raises:
        UnreadableData: a column does not exist, or a value is empty.
    """
    columns = table.find(COLUMNS[task], given)
    records = [{name: record.get(column) for name, column in columns.items()} for record in table.records]
    for number, record in enumerate(records, 1):
        for name, value in record.items():
            if value is None and name in MAY_BE_EMPTY:
                raise UnreadableData(f"Record {number} has no {name}: give an empty list if there are none")
            if name not in MAY_BE_EMPTY and not str(value if value is not None else "").strip():
                raise UnreadableData(f"Record {number} has an empty {columns[name]}: fill it in or remove the record")
    return records


def read_table(path: Path) -> Table:
    """Return the records of a file; a file that has not changed is read once.

    Raises:
        UnreadableData: the file is not what its suffix says, or is empty.
        OSError: it cannot be opened.
    """
    found = path.stat()
    return _read(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=2)
def _read(path: Path, _size: int, _time_ns: int) -> Table:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        table = _parquet(path)
    else:
        text, notes = _decode(path.read_bytes())
        if suffix in SEPARATED:
            table = _separated(text, notes, "\t" if suffix in (".tsv", ".tab") else None)
        elif suffix in JSON_LINES:
            table = _from_records(_json_lines(text), notes)
        else:
            table = _from_records(_json(text), notes)
    if not table.records:
        raise UnreadableData("It holds no record")
    return table


def _decode(content: bytes) -> tuple[str, tuple[str, ...]]:
    """Return a file's text. Without a byte order mark it is UTF-8, or else Windows' extension of Latin-1."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            try:
                return content.decode(encoding), ()
            except UnicodeDecodeError as error:
                raise UnreadableData(
                    f"It starts as {encoding}, but byte {error.start} is not: save it again"
                ) from error
    try:
        return content.decode("utf-8"), ()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        if b"\0" in content:
            raise UnreadableData(f"It is not a text file (line {line}): save it as UTF-8") from error
        try:
            text, encoding = content.decode("cp1252"), "Windows-1252"
        except UnicodeDecodeError:  # five of its bytes have no meaning
            text, encoding = content.decode("latin-1"), "Latin-1"
        return text, (f"the file is not UTF-8 (line {line}) and was read as {encoding}",)


def _separated(text: str, notes: tuple[str, ...], separator: str | None) -> Table:
    """Return the records of a CSV file.

    The separator is the one that divides the first line into most fields; `separator` decides between equals.

    Raises:
        UnreadableData: a record has other fields than the first line names, or is not valid CSV.
    """
    csv.field_size_limit(MAX_FIELD)
    text = text.lstrip("\r\n")
    if text.lower().startswith("sep=") and "\n" in text:  # a hint for Excel
        hint, _, text = text.partition("\n")
        separator = hint.strip()[4:] or separator
    counts = {one: len(next(csv.reader(io.StringIO(text), delimiter=one), ())) for one in SEPARATORS}
    best = max(counts, key=lambda one: (counts[one], one == separator, one == ","))
    notes = (*notes, f"its fields are separated by {SEPARATORS[best]}") if best not in (",", separator) else notes
    if best != "\t" or '"' not in text:
        return _parse(text, best, notes, quoted=True)
    # Files with tabs often have no quoting at all, and a text may start with a quotation mark.
    try:
        plain = _parse(text, best, (*notes, "quotation marks are taken as they are"), quoted=False)
    except UnreadableData:
        return _parse(text, best, notes, quoted=True)
    try:
        quoted = _parse(text, best, notes, quoted=True)
    except UnreadableData:
        return plain
    return quoted if len(quoted.records) == len(plain.records) else plain


def _parse(text: str, separator: str, notes: tuple[str, ...], *, quoted: bool) -> Table:
    stream = io.StringIO(text, newline="")
    if quoted:
        reader = csv.reader(stream, delimiter=separator, strict=True)
    else:
        reader = csv.reader(stream, delimiter=separator, quoting=csv.QUOTE_NONE)
    records = []
    try:
        header = tuple(name.strip() for name in next(reader, ()))
        if repeated := sorted({name for name in header if header.count(name) > 1 and name}):
            raise UnreadableData(f"Its first line has the column {repeated[0]} twice: rename one")
        for fields in reader:
            if not fields:  # an empty line
                continue
            if len(fields) > len(header) or (separator == "\t" and len(fields) < len(header)):
                raise UnreadableData(
                    f"The record that ends in line {reader.line_num} has {len(fields)} fields, the first line has "
                    f"{len(header)}: put texts that contain {SEPARATORS.get(separator, separator)} in double quotes"
                )
            records.append(dict(zip(header, fields, strict=False)))
    except csv.Error as error:
        raise UnreadableData(f"Line {reader.line_num} is not valid CSV: {error}") from error
    return Table(header, records, notes)


def _json_lines(text: str) -> list[Any]:
    records = []
    for number, line in enumerate(text.split("\n"), 1):  # splitlines would also cut at characters inside of strings
        if not line.strip():
            continue
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise UnreadableData(f"Line {number} is not JSON: fix or remove it") from error
        if not isinstance(records[-1], dict):
            raise UnreadableData(f"Line {number} is not a JSON object: fix or remove it")
    return records


def _json(text: str) -> list[Any]:
    """Return the records of a JSON file: a list of objects, an object of lists, or SQuAD's nested form.

    Raises:
        UnreadableData: it is something else.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        try:
            return _json_lines(text)  # JSON lines under another name
        except UnreadableData:
            raise UnreadableData(f"It is not JSON: {error}") from error
    if isinstance(found, dict) and isinstance(found.get("data"), list):
        found = found["data"]
    if isinstance(found, list) and found and all(isinstance(one, dict) and "paragraphs" in one for one in found):
        return _squad(found)
    if isinstance(found, dict) and found and all(isinstance(one, list) for one in found.values()):
        if len({len(one) for one in found.values()}) != 1:
            raise UnreadableData("Its columns differ in length: give each the same number of values")
        return [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]
    if isinstance(found, list) and all(isinstance(one, dict) for one in found):
        return found
    raise UnreadableData("It is neither a list of objects nor an object of lists: write one object for each record")


def _squad(articles: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the questions of SQuAD's own format, see https://rajpurkar.github.io/SQuAD-explorer/."""
    try:
        return [
            {
                "question": question["question"],
                "context": paragraph["context"],
                "answers": [answer["text"] for answer in question["answers"]],
            }
            for article in articles
            for paragraph in article["paragraphs"]
            for question in paragraph["qas"]
        ]
    except (KeyError, TypeError) as error:
        raise UnreadableData(f"It looks like SQuAD, but lacks {error}: write one object for each question") from error


def _parquet(path: Path) -> Table:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise UnreadableData("Parquet needs pyarrow: run pip install pyarrow") from error
    try:
        found = parquet.ParquetFile(path).read()
    except (pyarrow.ArrowException, OSError) as error:
        raise UnreadableData(f"It is not a Parquet file: {str(error).splitlines()[0]}") from error
    return Table(tuple(found.column_names), found.to_pylist())


def _from_records(records: list[Any], notes: tuple[str, ...]) -> Table:
    columns = dict.fromkeys(name for record in records for name in record)
    return Table(tuple(columns), records, notes)
