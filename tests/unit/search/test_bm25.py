"""BM25's tokens where no spaces are written (others: tests/unit/search/test_bm25_ranker.py), its
scores against the formula in float64.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from bothways.errors import InputError, MissingExtra
from bothways.search.bm25 import Bm25Index, tokenize

pytest.importorskip("bm25s", reason="bm25s is not installed (pip install 'bothways[mine]')")

TEXTS = ["river bank water river", "bank money account", "music concert", "open the fileName and read_line", "水の音楽 music"]


def test_characters_are_words_where_no_spaces_are_written() -> None:
    assert tokenize("東京 straße getName", characters=True) == ["東", "京", "straße", "getname", "get", "name"]
    assert tokenize("東京 straße") == ["東京", "straße"]


@pytest.mark.parametrize("query", ["river bank", "music music", "read the line of 音", "unknown"])
def test_scores_follow_the_formula(query: str) -> None:
    def tokens(text: str) -> list[str]:
        return tokenize(text, characters=True)

    documents = [tokens(text) for text in TEXTS]
    mean = sum(map(len, documents)) / len(documents)
    expected = np.zeros(len(TEXTS))
    for term in tokens(query):
        held = sum(term in words for words in documents)
        idf = math.log(1 + (len(documents) - held + 0.5) / (held + 0.5))
        for place, words in enumerate(documents):
            count = words.count(term)
            expected[place] += idf * count / (count + 1.5 * (1 - 0.75 + 0.75 * len(words) / mean))
    found = Bm25Index(TEXTS, purpose="a test", tokens=tokens).scores(query)
    assert found == pytest.approx(expected, rel=1e-5)  # bm25s keeps float32


def test_what_cannot_be_indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="none of the 2 documents has a word"):
        Bm25Index([".", "the"], purpose="a test")
    monkeypatch.setitem(__import__("sys").modules, "bm25s", None)
    with pytest.raises(MissingExtra, match=r"mining by BM25 needs bm25s.*bothways\[mine\]"):
        Bm25Index(TEXTS, purpose="mining by BM25", tokens=str.split)
