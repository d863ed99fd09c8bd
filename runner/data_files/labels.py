"""Labels as they are in files, words or numbers, turned into the classes of a model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runner.data_files.errors import UnreadableData

GENERIC = re.compile(r"(label|class)[ _-]?\d+", re.IGNORECASE)
"""Names that a library gives to classes without one: LABEL_0."""
SHOWN = 5
"""Names that a message lists."""


class OtherLabels(UnreadableData):
    """Labels of another kind than a model's: right for other models, and no mistake in the file."""


@dataclass(frozen=True)
class Labels:
    """A class for each sample."""

    numbers: tuple[int, ...]
    """Classes from 0, one per sample."""
    names: tuple[str, ...]
    """The names of the classes, by number."""
    notes: tuple[str, ...] = ()
    """How labels became classes, for readers of the result."""

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.names)


def number_labels(
    values: Sequence[object], model: Mapping[int, str] | None = None, folders: Sequence[str] = ()
) -> Labels:
    """Return the classes of labels.

    Args:
        values: words or numbers as they are in a file.
        model: the names of a model's classes by number, with which they must agree; None for a model without any.
        folders: all classes, if the labels are names of folders: these are numbered in the order of their names, as
            torchvision's ImageFolder does, also if they are numbers.

    Raises:
        UnreadableData: a label is empty, or some are the model's and others are not.
        OtherLabels: they are not the model's.
    """
    named = {} if model is None or all(GENERIC.fullmatch(name) for name in model.values()) else model
    words = [_word(value, number) for number, value in enumerate(values, 1)]
    found = sorted({*words, *folders})
    by_name = {name.strip().lower(): number for number, name in named.items()}
    if by_name and all(word.lower() in by_name for word in found):
        return Labels(tuple(by_name[word.lower()] for word in words), _names(named))
    if folders and (model is None or len(found) == len(model)):
        return Labels(tuple(map(found.index, words)), tuple(found))
    numbers = _whole_numbers(found)
    count = None if model is None else len(model)
    if numbers is not None:
        return _from_numbers(words, numbers, count)
    if by_name:
        strange = [word for word in found if word.lower() not in by_name]
        text = (
            f"the label {strange[0]!r} is none of the model's classes ({_list(list(named.values()))}): rename it, or "
            "number the labels as the model does"
        )
        raise (OtherLabels if len(strange) == len(found) else UnreadableData)(text)
    if (stray := _stray(words)) is not None:
        raise UnreadableData(
            f"record {stray + 1} has the label {words[stray]!r}, and most others have a number: fix it"
        )
    return _in_order(words, found, count, "words")


def _from_numbers(words: Sequence[str], numbers: Mapping[str, int], count: int | None) -> Labels:
    """Return numbers as they are if they can be classes; otherwise by their order."""
    lowest, highest = min(numbers.values()), max(numbers.values())
    if lowest < 0:
        raise UnreadableData(
            f"a label is {lowest}; allowed: whole numbers from 0. Records without a label are often marked so: "
            "remove them"
        )
    gaps = highest >= 2 * len(numbers) + 10
    if lowest >= 0 and (highest < count if count is not None else lowest == 0 and not gaps):
        names = tuple(map(str, range(count or highest + 1)))
        note = f"labels are the model's classes by number, from 0: the lowest here is {lowest}, and none is 0"
        return Labels(tuple(numbers[word] for word in words), names, (note,) if lowest else ())
    return _in_order(words, sorted(numbers, key=numbers.__getitem__), count, "numbers")


def _in_order(words: Sequence[str], found: Sequence[str], count: int | None, kind: str) -> Labels:
    """Return classes in the order of labels, which only as many as the model has can mean.

    Raises:
        OtherLabels: the model has another number of classes.
    """
    if count is not None and len(found) != count:
        raise OtherLabels(
            f"the labels are {len(found)} {kind} ({_list(found)}), and the model has {count} classes: number them from "
            "0 as the model does"
        )
    place = {word: number for number, word in enumerate(found)}
    shown = ", ".join(f"{word} is {number}" for word, number in list(place.items())[:SHOWN])
    more = ", …" if len(place) > SHOWN else ""
    note = f"labels are classes in the order of the {kind}: {shown}{more}"
    return Labels(tuple(place[word] for word in words), tuple(found), (note,))


def _stray(words: Sequence[str]) -> int | None:
    """Return the place of the first label that is no whole number where most are; None if there is none."""
    strange = [place for place, word in enumerate(words) if _whole_numbers([word]) is None]
    return strange[0] if 0 < 2 * len(strange) < len(words) else None


def _word(value: object, number: int) -> str:
    word = "" if value is None else str(value).strip()
    if isinstance(value, bool):
        word = str(int(value))
    if isinstance(value, float) and value.is_integer():
        word = str(int(value))
    if not word or word.lower() == "nan":
        raise UnreadableData(f"record {number} has no label: fill it in or remove it")
    return word


def _whole_numbers(words: Sequence[str]) -> dict[str, int] | None:
    """Return the values of words that are all whole numbers, such as 3 or 3.0; None if one is not."""
    found = {}
    for word in words:
        if not re.fullmatch(r"[+-]?\d{1,18}(\.0+)?", word):
            return None
        found[word] = int(float(word)) if "." in word else int(word)
    return found


def _names(named: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(named.get(number, str(number)) for number in range(max(named) + 1))


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
