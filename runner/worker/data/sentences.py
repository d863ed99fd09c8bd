"""Generated text, so that language models have a task without any download.

Opinions whose class no single word gives away: half of the sentences with a positive adjective are negated. Questions
about who did something, with a text that names one person. And passages to continue. A seed determines everything.
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
POSITIVE = [
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
NEGATIVE = [
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
"""Opinions per seed, all different."""
QUESTIONS = 1200
"""Questions per seed."""
PASSAGES = 1200
"""Passages per seed."""


@dataclass(frozen=True)
class Question:
    """A question about a text."""

    question: str
    context: str
    answers: tuple[str, ...]
    """All right answers; empty if the text has none."""


def opinions(seed: int, count: int = SENTENCES) -> tuple[list[str], list[int]]:
    """Return different sentences and their labels.

    Args:
        seed: determines the sentences.
        count: number of sentences.

    Returns:
        The sentences, and for each 1 if the opinion is positive, else 0.
    """
    generator = np.random.default_rng(seed)
    found: dict[str, int] = {}
    while len(found) < count:
        sentence, label = _opinion(generator)
        found.setdefault(sentence, label)
    return list(found), list(found.values())


def questions(seed: int, count: int = QUESTIONS) -> list[Question]:
    """Return questions about who did something; each text names one person, among other sentences.

    Args:
        seed: determines the questions.
        count: number of questions.
    """
    generator = np.random.default_rng([seed, 1])
    return [_question(generator) for _ in range(count)]


def passages(seed: int, words: int, count: int = PASSAGES) -> list[str]:
    """Return texts made of opinions and deeds.

    Args:
        seed: determines the texts.
        words: minimum number of words per text.
        count: number of texts.
    """
    generator = np.random.default_rng([seed, 2])
    return [" ".join(_story(generator, words)) for _ in range(count)]


def corpus(seed: int = 0) -> Iterator[str]:
    """Yield text with every word of the grammar, for training a tokenizer."""
    yield from opinions(seed)[0]
    for one in questions(seed):
        yield from (one.question, one.context)


def _opinion(generator: np.random.Generator) -> tuple[str, int]:
    positive, negated = bool(generator.integers(2)), bool(generator.integers(2))
    pattern = _one(generator, NEGATED if negated else AFFIRMED)
    words = {"noun": _one(generator, NOUNS), "degree": _one(generator, DEGREES)}
    adjective = _one(generator, POSITIVE if positive else NEGATIVE)
    return pattern.format(adjective=adjective, **words), int(positive != negated)


def _question(generator: np.random.Generator) -> Question:
    person = f"{_one(generator, FIRST_NAMES)} {_one(generator, LAST_NAMES)}"
    deed, noun = _one(generator, DEEDS), _one(generator, NOUNS)
    sentences = [_opinion(generator)[0] for _ in range(int(generator.integers(2, 6)))]
    sentences.insert(int(generator.integers(len(sentences) + 1)), f"{person} {deed} the {noun}")
    return Question(f"who {deed} the {noun} ?", " . ".join(sentences) + " .", (person,))


def _story(generator: np.random.Generator, words: int) -> Iterator[str]:
    length = 0
    while length < words:
        sentence = _opinion(generator)[0]
        if generator.integers(3) == 0:
            sentence = f"{_one(generator, FIRST_NAMES)} {_one(generator, DEEDS)} the {_one(generator, NOUNS)}"
        length += len(sentence.split()) + 1
        yield f"{sentence} ."


def _one(generator: np.random.Generator, words: list[str] | tuple[str, ...]) -> str:
    return words[int(generator.integers(len(words)))]
