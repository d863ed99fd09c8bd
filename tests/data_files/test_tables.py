"""Tables as people have them: every encoding, separator and format is read, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.data_files.errors import UnreadableData
from runner.data_files.tables import read_table, records_for

PAIRS = [{"text": "Größe, gut", "label": "1"}, {"text": "schlecht", "label": "0"}]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    """Return a new file."""
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


@pytest.mark.parametrize(
    ("name", "content", "notes"),
    [
        ("a.csv", 'text,label\n"Größe, gut",1\nschlecht,0\n', ()),
        ("a.CSV", "\ufefftext;label\r\nGröße, gut;1\r\nschlecht;0\r\n", ("its fields are separated by a semicolon",)),
        ("a.csv", "sep=;\r\ntext;label\r\nGröße, gut;1\r\nschlecht;0", ()),
        ("a.txt", "text|label\nGröße, gut|1\n\nschlecht|0\n", ("its fields are separated by a vertical bar",)),
        ("a.tsv", "text\tlabel\nGröße, gut\t1\nschlecht\t0\n", ()),
        ("a.csv", "text\tlabel\nGröße, gut\t1\nschlecht\t0\n", ("its fields are separated by a tab",)),
        ("a.csv", 'text,label\n"Größe, gut",1\nschlecht,0\n'.encode("utf-16"), ()),
        (
            "a.csv",
            'text,label\n"Größe, gut",1\nschlecht,0\n'.encode("latin-1"),
            ("the file is not UTF-8 (line 2) and was read as Windows-1252",),
        ),
        ("a.jsonl", "\n".join(json.dumps(one, ensure_ascii=False) for one in PAIRS), ()),
        ("a.json", json.dumps(PAIRS), ()),
        ("a.json", "\n".join(map(json.dumps, PAIRS)), ()),
        ("a.json", json.dumps({name: [one[name] for one in PAIRS] for name in ("text", "label")}), ()),
        ("a.json", json.dumps({"data": PAIRS}), ()),
    ],
)
def test_the_same_records_in_every_form(tmp_path, name, content, notes):
    """What was concluded about the file is reported."""
    table = read_table(write(tmp_path, name, content))
    assert [dict(record) for record in table.records] == PAIRS
    assert table.notes == notes


def test_parquet(tmp_path):
    """Values keep their types."""
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": ["a", "b"], "label": [True, False]}), tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet").records == [{"text": "a", "label": True}, {"text": "b", "label": False}]


def test_a_field_may_hold_newlines_and_be_longer_than_a_book_page(tmp_path):
    """Python's csv module stops at 131,072 characters by itself."""
    long = "two\nlines " * 30_000
    table = read_table(write(tmp_path, "a.csv", f'text,label\n"{long}",1\n'))
    assert [record["text"] for record in table.records] == [long]


def test_tabs_without_quoting(tmp_path):
    """A text that starts with a quotation mark is no quoted field in most files with tabs."""
    table = read_table(write(tmp_path, "a.tsv", 'text\tlabel\n"Oh\t1\nwell"\t0\nx\t1\n'))
    assert [record["text"] for record in table.records] == ['"Oh', 'well"', "x"]
    assert table.notes == ("quotation marks are taken as they are",)


def test_questions_of_squad(tmp_path):
    """The data set's own nested file."""
    question = {"question": "Who?", "answers": [{"text": "Ada", "answer_start": 0}, {"text": "A", "answer_start": 0}]}
    nested = {"data": [{"paragraphs": [{"context": "Ada did.", "qas": [question]}]}]}
    table = read_table(write(tmp_path, "a.json", json.dumps(nested)))
    assert table.records == [{"question": "Who?", "context": "Ada did.", "answers": ["Ada", "A"]}]


def test_columns_by_other_names(tmp_path):
    """Those that are named, and the same in upper case; the others by their own names."""
    table = read_table(write(tmp_path, "a.csv", "Review, LABEL \nfine,1\n"))
    assert records_for(table, "text-classification", {"text": "review"}) == [{"text": "fine", "label": "1"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "It holds no record"),
        ("a.csv", "text,label\n", "It holds no record"),
        ("a.csv", "review,stars\nx,1\n", "Name them with 'data.columns={text: NAME, label: NAME}'"),
        ("a.csv", "text,label\nhello, world,1\n", "line 2 has 3 fields, the first line has 2"),
        ("a.csv", "text,text\na,b\n", "has the column text twice"),
        ("a.csv", 'text,label\n"open,1\n', "is not valid CSV"),
        ("a.csv", "text,label\na,1\n ,0\n", "Record 2 has an empty text"),
        ("a.csv", "text,label\na\n", "Record 1 has an empty label"),
        ("a.csv", b"\x00\x01\xff", "It is not a text file"),
        ("a.jsonl", '{"text": "a"}\n3\n', "Line 2 is not a JSON object"),
        ("a.jsonl", '{"text": "a"}\n{"text"\n', "Line 2 is not JSON"),
        ("a.json", '{"text": ["a"], "label": []}', "Its columns differ in length"),
        ("a.json", "[1, 2]", "neither a list of objects nor an object of lists"),
        ("a.json", "{", "It is not JSON"),
        ("a.parquet", "text", "It is not a Parquet file"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path, name, content, message):
    """The message says where, and what to do."""
    with pytest.raises(UnreadableData) as caught:
        records_for(read_table(write(tmp_path, name, content)), "text-classification", {})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
