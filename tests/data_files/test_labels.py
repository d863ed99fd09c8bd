"""Labels as they are in files become the classes of a model, or are refused."""

from __future__ import annotations

import pytest

from runner.data_files.errors import UnreadableData
from runner.data_files.labels import OtherLabels, number_labels

SENTIMENT = {0: "NEGATIVE", 1: "POSITIVE"}
GENERIC = {0: "LABEL_0", 1: "LABEL_1"}
STARS = {number: f"{number + 1} stars" for number in range(5)}


@pytest.mark.parametrize(
    ("values", "model", "numbers"),
    [
        (["1", "0", "1"], None, (1, 0, 1)),
        ([1.0, 0.0], None, (1, 0)),
        ([True, False], None, (1, 0)),
        (["pos", "neg", "pos"], None, (1, 0, 1)),
        (["positive", " Negative "], SENTIMENT, (1, 0)),
        (["1", "0"], SENTIMENT, (1, 0)),
        (["1", "1"], SENTIMENT, (1, 1)),
        (["good", "bad"], GENERIC, (1, 0)),
        (["5", "1", "2", "3", "4"], STARS, (4, 0, 1, 2, 3)),
        (["10", "2"], None, (1, 0)),
        (["1", "2"], None, (0, 1)),
        (["7", "7"], {number: f"class {number}" for number in range(10)}, (7, 7)),
    ],
)
def test_words_and_numbers(values, model, numbers):
    """Words by the model's names, else in their order; numbers as they are, else in their order."""
    assert number_labels(values, model).numbers == numbers


def test_an_order_is_reported():
    """Nobody is to wonder which class is which."""
    assert number_labels(["pos", "neg"]).notes == ("labels are classes in the order of the words: neg is 0, pos is 1",)
    assert number_labels(["1", "5"], GENERIC).notes == (
        "labels are classes in the order of the numbers: 1 is 0, 5 is 1",
    )
    assert number_labels(["0", "1"]).notes == ()


def test_folders_are_numbered_by_their_names():
    """As torchvision's ImageFolder does; those without pictures keep their place."""
    assert number_labels(["b", "10", "2"], folders=["10", "2", "a", "b"]).numbers == (3, 0, 1)
    wordnet = {0: "n01440764", 1: "n01443537", 2: "n01484850"}
    assert number_labels(["n01484850"], wordnet, folders=["n01484850"]).numbers == (2,)


def test_labels_of_another_model():
    """They are no mistake in the file: the caller goes on without them, and says so."""
    with pytest.raises(OtherLabels, match=r"the labels are 3 words \(a, b, c\), and the model has 2 classes"):
        number_labels(["a", "b", "c"], GENERIC)
    with pytest.raises(OtherLabels, match="'sports' is none of the model's classes"):
        number_labels(["sports"], SENTIMENT)


def test_a_single_wrong_label_is_a_mistake():
    """It is named, never dropped."""
    with pytest.raises(UnreadableData, match="'postive' is none of the model's classes") as caught:
        number_labels(["positive", "postive"], SENTIMENT)
    assert not isinstance(caught.value, OtherLabels)
    with pytest.raises(UnreadableData, match="record 2 has no label"):
        number_labels(["a", ""])


def test_what_is_no_label():
    """Most are numbers and one is a word; and a negative number, which marks a missing label."""
    with pytest.raises(UnreadableData, match="record 3 has the label 'good', and most others have a number"):
        number_labels(["0", "1", "good"])
    with pytest.raises(UnreadableData, match="a label is -1; allowed: whole numbers from 0"):
        number_labels([0, 1, -1])


def test_numbers_of_which_none_is_zero_are_noted():
    """Four of five stars: they may be classes 1 to 4, or 0 to 3."""
    found = number_labels(["1", "4", "2", "3"], STARS)
    assert found.numbers == (1, 4, 2, 3)
    assert found.notes == ("labels are the model's classes by number, from 0: the lowest here is 1, and none is 0",)
    assert number_labels(["0", "4"], STARS).notes == ()
