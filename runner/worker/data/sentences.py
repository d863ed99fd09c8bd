"""Text from a grammar of this program's own, so that language models can be asked something with no download.

Opinions whose class no single word tells: half the sentences with a kind adjective are unkind, because they negate it.
Questions after somebody's name, in a text that has only one. And plain text, to go on writing. Everything follows from
a seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

NOUNS = [
    "film",
    "book",
    "meal",
    "room",
    "song",
    "phone",
    "hotel",
    "lamp",
    "story",
    "game",
    "coffee",
    "bread",
    "train",
    "concert",
    "garden",
    "museum",
    "chair",
    "jacket",
    "lesson",
    "speech",
]
KIND = [
    "great",
    "lovely",
    "brilliant",
    "splendid",
    "delightful",
    "charming",
    "superb",
    "wonderful",
    "excellent",
    "clever",
    "pleasant",
    "fresh",
]
UNKIND = [
    "awful",
    "boring",
    "dreadful",
    "terrible",
    "clumsy",
    "dull",
    "horrible",
    "poor",
    "sloppy",
    "stale",
    "unpleasant",
    "weak",
]
DEGREES = ["very", "really", "quite", "rather", "truly", "so"]
AFFIRMED = (
    "the {noun} was {degree} {adjective}",
    "i found the {noun} {degree} {adjective}",
    "we thought the {noun} was {adjective}",
    "everyone called this {noun} {adjective}",
    "it was a {degree} {adjective} {noun}",
    "that {noun} is {adjective} , as always",
)
NEGATED = (
    "the {noun} was not {adjective}",
    "i never found the {noun} {degree} {adjective}",
    "nobody thought the {noun} was {degree} {adjective}",
    "it was hardly a {adjective} {noun}",
    "that {noun} is not {adjective} , as always",
    "we did not think this {noun} {adjective}",
)
FIRST_NAMES = [
    "maria",
    "paul",
    "ines",
    "omar",
    "lucy",
    "felix",
    "hanna",
    "david",
    "sofia",
    "marco",
    "nora",
    "peter",
    "clara",
    "hugo",
    "elena",
    "simon",
]
LAST_NAMES = [
    "miller",
    "garcia",
    "novak",
    "rossi",
    "weber",
    "olsen",
    "silva",
    "keller",
    "moreau",
    "brandt",
    "fischer",
    "costa",
    "lindgren",
    "duarte",
]
DEEDS = ["repaired", "bought", "painted", "sold", "found", "cleaned", "borrowed", "hid", "measured", "described"]
SENTENCES = 2400
"""Opinions of one seed. All are different."""
QUESTIONS = 1200
PASSAGES = 1200


@dataclass(frozen=True)
class Question:
    """A question after a part of a text."""

    question: str
    context: str
    answers: tuple[str, ...]
    """What is right, any of them; none where the text does not tell."""


def opinions(seed: int, count: int = SENTENCES) -> tuple[list[str], list[int]]:
    """Return different sentences, and for each whether it is an opinion in favour (1) or against (0)."""
    generator = np.random.default_rng(seed)
    found: dict[str, int] = {}
    while len(found) < count:
        sentence, kind = _opinion(generator)
        found.setdefault(sentence, kind)
    return list(found), list(found.values())


def questions(seed: int, count: int = QUESTIONS) -> list[Question]:
    """Return questions after who did something; each text names one person, between other sentences."""
    generator = np.random.default_rng([seed, 1])
    return [_question(generator) for _ in range(count)]


def passages(seed: int, words: int, count: int = PASSAGES) -> list[str]:
    """Return texts of at least so many words, opinions and deeds one after the other."""
    generator = np.random.default_rng([seed, 2])
    return [" ".join(_story(generator, words)) for _ in range(count)]


def corpus(seed: int = 0) -> Iterator[str]:
    """Yield text with every word that the grammar knows: what a tokenizer is trained on."""
    yield from opinions(seed)[0]
    for one in questions(seed):
        yield from (one.question, one.context)


def _opinion(generator: np.random.Generator) -> tuple[str, int]:
    kind, negated = bool(generator.integers(2)), bool(generator.integers(2))
    pattern = _one(generator, NEGATED if negated else AFFIRMED)
    words = {"noun": _one(generator, NOUNS), "degree": _one(generator, DEGREES)}
    return pattern.format(adjective=_one(generator, KIND if kind else UNKIND), **words), int(kind != negated)


def _question(generator: np.random.Generator) -> Question:
    person = f"{_one(generator, FIRST_NAMES)} {_one(generator, LAST_NAMES)}"
    deed, noun = _one(generator, DEEDS), _one(generator, NOUNS)
    told = [_opinion(generator)[0] for _ in range(int(generator.integers(2, 6)))]
    told.insert(int(generator.integers(len(told) + 1)), f"{person} {deed} the {noun}")
    return Question(f"who {deed} the {noun} ?", " . ".join(told) + " .", (person,))


def _story(generator: np.random.Generator, words: int) -> Iterator[str]:
    told = 0
    while told < words:
        sentence = _opinion(generator)[0]
        if generator.integers(3) == 0:
            sentence = f"{_one(generator, FIRST_NAMES)} {_one(generator, DEEDS)} the {_one(generator, NOUNS)}"
        told += len(sentence.split()) + 1
        yield f"{sentence} ."


def _one(generator: np.random.Generator, words: list[str] | tuple[str, ...]) -> str:
    return words[int(generator.integers(len(words)))]
