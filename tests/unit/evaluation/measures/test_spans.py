"""Span decoding against hand examples, conlleval's own rules and seqeval; counts by hand."""

from __future__ import annotations

import random

import pytest

from bothways.errors import InputError
from bothways.evaluation.measures.spans import Span, score_spans, spans, to_iob2

HAND = [
    # IOB1: I- opens, B- only where two of one type touch
    ("I-ORG O I-MISC O", [("ORG", 0, 1), ("MISC", 2, 3)]),
    ("I-PER I-PER B-PER O", [("PER", 0, 2), ("PER", 2, 3)]),
    ("I-PER I-LOC I-LOC", [("PER", 0, 1), ("LOC", 1, 3)]),
    # IOB2
    ("B-PER I-PER B-PER I-PER", [("PER", 0, 2), ("PER", 2, 4)]),
    ("B-LOC B-LOC", [("LOC", 0, 1), ("LOC", 1, 2)]),
    # what a classifier may say: I- of another type, I- after O
    ("B-PER I-LOC O I-LOC", [("PER", 0, 1), ("LOC", 1, 2), ("LOC", 3, 4)]),
    ("O O", []),
    ("", []),
    ("I-A-B I-A-B", [("A-B", 0, 2)]),
]


@pytest.mark.parametrize(("tags", "expected"), HAND)
def test_hand_examples(tags, expected):
    assert spans(tags.split()) == [Span(*span) for span in expected]


def conlleval(tags):
    """The rules of conlleval.pl, word by word: does a chunk end between the last word and this one,
    does one start here?
    """
    found, start, kind = [], None, None
    before, before_type = "O", ""
    for place, tag in enumerate([*tags, "O"]):
        letter, _, this = tag.partition("-")
        ends = (before in "BI" and letter in "BO") or (before != "O" and before_type != this)
        starts = (letter == "B") or (before == "O" and letter == "I") or (letter != "O" and before_type != this)
        if start is not None and ends:
            found.append(Span(kind, start, place))
            start = None
        if starts:
            start, kind = place, this
        before, before_type = letter, this
    return found


def random_tags(seed, length=400):
    return random.Random(seed).choices(["O", "B-X", "I-X", "B-Y", "I-Y"], k=length)


def test_as_conlleval():
    for seed in range(20):
        tags = random_tags(seed)
        assert spans(tags) == conlleval(tags)


def test_as_seqeval():
    sequence_labeling = pytest.importorskip("seqeval.metrics.sequence_labeling", reason="seqeval is not installed")
    gold, predicted = ([random_tags(seed, 30) for seed in range(first, first + 50)] for first in (0, 100))
    for tags in gold:
        assert spans(tags) == [Span(kind, a, b + 1) for kind, a, b in sequence_labeling.get_entities(tags)]
    total, _ = score_spans(gold, predicted)
    assert total.f1 == pytest.approx(sequence_labeling.f1_score(gold, predicted), abs=1e-12)
    assert total.precision == pytest.approx(sequence_labeling.precision_score(gold, predicted), abs=1e-12)
    assert total.recall == pytest.approx(sequence_labeling.recall_score(gold, predicted), abs=1e-12)


def test_iob2_says_the_same_and_opens_every_span():
    assert to_iob2(["I-ORG", "O", "I-MISC", "I-MISC", "B-MISC"]) == ("B-ORG", "O", "B-MISC", "I-MISC", "B-MISC")
    for seed in range(20):
        tags = random_tags(seed)
        turned = to_iob2(tags)
        assert spans(turned) == spans(tags)
        assert all(turned[span.start].startswith("B-") for span in spans(tags))
        assert to_iob2(turned) == turned


def test_counts():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "O"]]
    predicted = [["B-PER", "I-PER", "O", "B-PER"], ["B-LOC", "B-LOC"]]  # 2 right of 4 given and 3 wanted
    total, by_kind = score_spans(gold, predicted)
    assert total == pytest.approx((2 / 4, 2 / 3, 4 / 7))
    assert by_kind["PER"] == pytest.approx((1 / 2, 1, 2 / 3))
    assert by_kind["LOC"] == pytest.approx((1 / 2, 1 / 2, 1 / 2))
    # a span cut short is wrong, however many of its words are tagged right
    assert score_spans([["B-X", "I-X", "I-X"]], [["B-X", "I-X", "O"]])[0] == (0, 0, 0)
    assert score_spans([["O"]], [["O"]])[0] == (0, 0, 0)
    with pytest.raises(InputError, match="sentence 0: 1 predicted tags for 2 words"):
        score_spans([["O", "O"]], [["O"]])
