"""Copies of evaluation texts are found, and nothing else."""

import itertools
import random

import numpy as np
import pytest

from bothways.data.decontamination import Overlap, remove_overlap
from bothways.data.labeled.example import Example
from bothways.data.lexicon import Lexicon
from bothways.data.words import normal_form, words
from bothways.errors import InputError

TEXTS = ["The cat sat on the mat.", "A plane is taking off.", "고양이가 매트에 앉았다.", "猫がマットに座った。", "?!"]


@pytest.mark.parametrize(
    ("copy", "of"),
    [
        ("THE CAT SAT ON THE MAT", 0),
        (" the cat  sat on\nthe mat . ", 0),
        ("ＴＨＥ cat sat on the mat", 0),
        ("a plane, is taking-off", 1),
        ("고양이가 매트에 앉았다", 2),
        ("고양이가 매트에 앉았다", 2),  # decomposed Hangul
        ("猫がマットに座った", 3),
        ("? !", 4),
    ],
)
def test_copies_up_to_case_space_punctuation_and_unicode_form(copy, of):
    match = Overlap(TEXTS).find(copy)
    assert match is not None and (match.evaluation, match.similarity, match.exact) == (TEXTS[of], 1.0, True)


@pytest.mark.parametrize("text", ["The cat sat on a mat.", "A plane", "!", "", "앉았다", "C"])
def test_other_texts_are_not_copies(text):
    assert Overlap([*TEXTS, "C++", "C#"[:1] + "♯"]).find(text) is None


def test_normal_form_keeps_what_makes_words():
    assert normal_form("don't") == normal_form("do n't") == "dont"
    assert len({normal_form(text) for text in ("C", "C++", "5", "$5", "ก", "กิ", "क", "कि")}) == 8
    assert words("Straße—don't 猫がいる x_y") == ["strasse", "don", "t", "猫", "が", "い", "る", "x", "y"]


def naive_jaccard(a: str, b: str, n: int) -> float:
    def grams(text):
        found = words(text)
        return {tuple(found[i : i + n]) for i in range(max(1, len(found) - n + 1))}

    one, two = grams(a), grams(b)
    return len(one & two) / len(one | two)


def test_near_copies_equal_a_naive_loop():
    """Against every pair compared in full: the inverted index may not lose a candidate."""
    rng = random.Random(0)
    vocabulary = ["the", "a", "cat", "dog", "sits", "runs", "on", "under", "mat", "red"]
    make = lambda: " ".join(rng.choices(vocabulary, k=rng.randint(1, 9)))  # noqa: E731
    held, texts = [make() for _ in range(30)], [make() for _ in range(80)]
    for n, near in itertools.product((1, 2, 3), (0.3, 0.6, 1.0)):
        overlap = Overlap(held, near=near, ngram=n)
        for text in texts:
            best = max(naive_jaccard(text, other, n) for other in held)
            match = overlap.find(text)
            assert (match is not None) == (best >= near), (text, n, near, best)
            assert match is None or match.exact or match.similarity == pytest.approx(best, abs=1e-12)


def test_bm25_similarity():
    """The score that a text has for itself, computed apart from the index, is the score the index
    gives it.
    """
    lexicon = Lexicon([*TEXTS, "the the the cat"], "the test")
    for place, text in enumerate(TEXTS[:4]):
        assert lexicon.own_score(text) == pytest.approx(float(lexicon.scores(text)[place]), rel=1e-5)  # float32 in the index
    assert lexicon.own_score("?!") == 0 and not lexicon.scores("unseen").any()
    overlap = Overlap(TEXTS, near=0.7, method="bm25")
    match = overlap.find("On the mat sat the cat")
    assert match is not None and not match.exact and match.similarity == pytest.approx(1.0, rel=1e-5)
    assert overlap.find("cat") is None  # the whole of a short text is a small part of the evaluation text
    for unknown in (3, 200):  # words beside the whole of the evaluation text: far from a copy
        assert overlap.find(f"{TEXTS[0]} {' '.join(map(str, range(unknown)))}") is None
    assert Overlap(["?!"], near=0.5, method="bm25").find("a word") is None


def test_ranking_is_by_score_then_place():
    lexicon = Lexicon(["cat", "dog", "cat", "cat dog", "bird"], "the test")
    scores = lexicon.scores("cat")
    expected = sorted(np.flatnonzero(scores).tolist(), key=lambda place: (-scores[place], place))
    for depth in range(1, 6):
        assert lexicon.ranking("cat", depth) == expected[:depth]
    assert lexicon.ranking("cat", 2) == [0, 2] and lexicon.ranking("unseen", 3) == []


def test_examples_lose_what_evaluation_holds():
    held = Overlap(["Held."])
    examples = [
        Example("held", ("a",)),
        Example("q", ("held!", "a"), ("HELD", "b"), (1.0, 2.0), (3.0, 4.0)),
        Example("r", ("Held",), ("b",)),
        Example("s", ("a",), ("b",)),
    ]
    kept, matches, gone = remove_overlap(examples, held)
    assert kept == [Example("q", ("a",), ("b",), (2.0,), (4.0,)), examples[3]]
    assert gone == 2 and len(matches) == 4 and {match.evaluation for match in matches} == {"Held."}
    kept, _, gone = remove_overlap(examples, held, documents=False)
    assert kept == examples[1:] and gone == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"near": 0.0}, "near: 0.0"),
        ({"near": 1.1}, "near: 1.1"),
        ({"method": "cosine"}, "method: 'cosine'"),
        ({"ngram": 0}, "ngram"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        Overlap(["a"], **options)
    with pytest.raises(InputError, match="no evaluation text"):
        Overlap(["", " "])
