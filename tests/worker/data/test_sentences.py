"""Generated text: the data of language models without a download."""

from __future__ import annotations

from runner.worker.data.sentences import SENTENCES, opinions, passages, questions


def test_no_single_word_gives_the_class_away():
    """2,400 different sentences, balanced classes, and no word whose presence predicts the class in 55 % of them."""
    sentences, labels = opinions(seed=0)
    assert len(set(sentences)) == SENTENCES >= 2000
    assert 0.48 < sum(labels) / len(labels) < 0.52
    words = {word for sentence in sentences for word in sentence.split()}
    for word in words:
        agreeing = sum((word in sentence.split()) == label for sentence, label in zip(sentences, labels, strict=True))
        assert 0.45 < agreeing / len(labels) < 0.55, word


def test_every_text_contains_the_answer_once():
    """The answer occurs once in the text, and not in the question."""
    for one in questions(seed=3, count=200):
        [answer] = one.answers
        assert one.context.count(answer) == 1
        assert answer not in one.question


def test_texts_are_reproducible():
    """Equal for the same seed, different for another."""
    assert opinions(1, 20) == opinions(1, 20) != opinions(2, 20)
    assert questions(1, 5) == questions(1, 5) != questions(2, 5)
    assert passages(1, 30, 5) == passages(1, 30, 5) != passages(2, 30, 5)
    assert all(len(text.split()) >= 30 for text in passages(1, 30, 5))
