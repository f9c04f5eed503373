"""BM25: its tokens by example, its scores against the formula."""

from __future__ import annotations

import builtins
import math

import pytest

from bothways.errors import InputError, MissingExtra
from bothways.search.bm25_ranker import BM25, tokenize

pytest.importorskip("bm25s", reason="bm25s is not installed (pip install 'bothways[eval]')")


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The cat, and a DOG!", ["cat", "dog"]),
        ("getFileName", ["getfilename", "get", "file", "name"]),
        ("os.path_exists", ["os", "path_exists", "path", "exists"]),
        ("HTTPServer2", ["httpserver2", "http", "server", "2"]),
        ("__init__", ["__init__"]),
        ("plain words stay", ["plain", "words", "stay"]),
        ("straße Über 東京", ["straße", "über", "東京"]),
        ("is_a", ["is_a"]),
        (" .!? ", []),
    ],
)
def test_tokens(text, tokens):
    assert tokenize(text) == tokens


CORPUS = {
    "a": "river bank water river",
    "b": "bank money account transfer interest",
    "c": "music concert",
    "e": "music concert",
}


def reference(query: str, k1: float = 1.5, b: float = 0.75) -> dict[str, float]:
    """Lucene's BM25 in float64, from the formula."""
    docs = {key: tokenize(text) for key, text in CORPUS.items()}
    mean = sum(map(len, docs.values())) / len(docs)
    scores = {}
    for key, words in docs.items():
        total = 0.0
        for term in tokenize(query):
            df = sum(term in other for other in docs.values())
            tf = words.count(term)
            idf = math.log(1 + (len(docs) - df + 0.5) / (df + 0.5))
            total += idf * tf / (tf + k1 * (1 - b + b * len(words) / mean))
        if total > 0:
            scores[key] = total
    return scores


@pytest.mark.parametrize("query", ["river bank", "music", "Bank bank", "nothing known here"])
def test_scores_follow_the_formula_and_ties_go_to_the_later_id(query):
    run = BM25().rank({"q": query}, CORPUS, depth=4).as_run()["q"]
    expected = reference(query)
    # bm25s keeps float32; the factor (k1 + 1) that Lucene leaves out changes no order
    assert run == pytest.approx(expected, rel=1e-5)
    assert list(run) == sorted(expected, key=lambda key: (round(expected[key], 9), key), reverse=True)


def test_identical_ids_and_empty_corpora():
    run = BM25().rank({"a": "river"}, CORPUS, depth=4, ignore_identical_ids=True).as_run()
    assert run == {"a": {}}
    with pytest.raises(InputError, match="none of the 1 documents has a word"):
        BM25().rank({"q": "river"}, {"a": "..."}, depth=4)
    with pytest.raises(InputError, match="0 <= b <= 1"):
        BM25(b=2)


def test_missing_package_says_the_install_line(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "bm25s":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"pip install 'bothways\[eval\]'"):
        BM25()
