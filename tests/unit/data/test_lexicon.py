"""BM25 over few texts against its formula, written out in float64."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from bothways.data.lexicon import Lexicon
from bothways.data.words import words

pytest.importorskip("bm25s")
TEXTS = [
    "Bees make honey, and bees make wax.",
    "Honey is made by bees.",
    "The river is cold in winter",
    "Winter, winter: cold and long",
    "今日は寒い冬です",
    "!?",
]


def naive(query: str, text: str) -> float:
    """Lucene's BM25 with k1 = 1.5 and b = 0.75. Each word of the query counts once."""
    documents = [words(each) for each in TEXTS]
    average = sum(map(len, documents)) / len(documents)
    own, total = words(text), 0.0
    for word in dict.fromkeys(words(query)):
        holders = sum(word in document for document in documents)
        idf = math.log(1 + (len(documents) - holders + 0.5) / (holders + 0.5))
        count = Counter(own)[word]
        total += idf * count / (count + 1.5 * (0.25 + 0.75 * len(own) / average))
    return total


@pytest.mark.parametrize("query", ["honey bees bees", "cold winter", "冬", "unknown", "", "COLD?!"])
def test_scores_are_those_of_the_formula(query: str) -> None:
    lexicon = Lexicon(TEXTS, "the test")
    assert lexicon.scores(query).tolist() == pytest.approx([naive(query, text) for text in TEXTS], rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("place", range(len(TEXTS)))
def test_a_texts_own_score_is_the_one_that_it_has_in_the_collection(place: int) -> None:
    lexicon = Lexicon(TEXTS, "the test")
    assert lexicon.own_score(TEXTS[place]) == pytest.approx(float(lexicon.scores(TEXTS[place])[place]), rel=1e-5)


def test_a_ranking_is_best_first_and_ties_are_by_place() -> None:
    lexicon = Lexicon(["a b", "c", "b a", "a", "b a"], "the test")
    scores = lexicon.scores("a b").tolist()
    order = sorted((place for place in range(5) if scores[place] > 0), key=lambda place: (-scores[place], place))
    assert order == [0, 2, 4, 3]
    assert [lexicon.ranking("a b", depth) for depth in (1, 2, 3, 9)] == [[0], [0, 2], [0, 2, 4], order]
    assert lexicon.ranking("nothing", 5) == []


def test_texts_without_words_have_no_scores() -> None:
    lexicon = Lexicon(["!", "…"], "the test")
    assert lexicon.scores("a").tolist() == [0.0, 0.0]
    assert (lexicon.own_score("a"), lexicon.ranking("a", 3)) == (0.0, [])
