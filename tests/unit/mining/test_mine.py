"""Mining against a naive loop over all pairs, and what planted answers, copies, labels and prompts
must do.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bothways.data.decontamination import Overlap
from bothways.data.labeled.example import Example
from bothways.errors import InputError
from bothways.mining import mine
from bothways.search import dense, vector_shards
from bothways.search.bm25 import Bm25Index, tokenize
from bothways.similarity import similarity_of
from unit.mining.material import collection, cosines, fan, key, naive, scattered, signs

mine_file = __import__("bothways.mining.mine", fromlist=["mine"])


def pairs(mined) -> list[list[tuple[str, float]]]:
    return [list(zip(row.negatives, row.negative_scores)) for row in mined.examples]


def same(found, expected) -> None:
    assert [[text for text, _ in row] for row in found] == [[text for text, _ in row] for row in expected]
    numbers = [[score for row in rows for _, score in row] for rows in (found, expected)]
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-6)  # float32 cosines


@pytest.mark.parametrize("function", [scattered, signs])
@pytest.mark.parametrize("window", [(1, 150), (3, 120)])
@pytest.mark.parametrize("perc", [0.95, 0.4])
def test_dense_equals_the_loop_over_all_pairs(function, window, perc) -> None:
    examples, corpus = collection()
    found = mine(examples, corpus, method="dense", encoder=function, window=window, perc=perc, negatives=5)
    expected = naive(
        examples,
        corpus,
        lambda query, texts: cosines(function, query, texts),
        negatives=5,
        window=window,
        below=lambda low: low - (1 - perc) * abs(low),
    )
    same(pairs(found), expected)
    assert sum(map(len, expected)) > 40  # the limits leave something to compare
    assert any(len(row) < 5 for row in expected)
    for row, example in zip(found.examples, examples):
        assert row.positives == example.positives
        assert row.positive_scores == pytest.approx(cosines(function, row.query, row.positives), abs=1e-6)


@pytest.mark.parametrize("kind", ["dot", "euclidean", "manhattan"])
@pytest.mark.parametrize("method", ["dense", "hybrid"])
def test_negatives_follow_the_similarity_of_the_encoder(method: str, kind, tmp_path) -> None:
    """Scores and order are those of sentence-transformers. The limit is a share of a score of any sign."""
    examples, corpus = collection()

    class Encoder:
        similarity_fn_name = kind

        def encode(self, texts):
            return np.stack([vector * (0.5 + len(text) % 7) for text, vector in zip(texts, scattered(texts))])

    def score(query, texts):
        if not texts:
            return np.zeros(0)
        return similarity_of(Encoder().encode([query]), Encoder().encode(texts), kind)[0].numpy().astype(np.float64)

    options = {"method": method, "window": (1, 150), "perc": 0.9, "negatives": 5}
    found = mine(examples, corpus, encoder=Encoder(), work=tmp_path / "work", **options)
    assert found.statistics.summary()["similarity"] == kind
    assert {"dot": "(dot products", "euclidean": "(minus Euclidean distances", "manhattan": "(minus Manhattan distances"}[
        kind
    ] in "\n".join(found.statistics.lines())
    for row in found.examples:
        assert row.negative_scores == pytest.approx(score(row.query, row.negatives), rel=1e-5)
        assert row.positive_scores == pytest.approx(score(row.query, row.positives), rel=1e-5)
    chosen = mine(examples, corpus, encoder=Encoder().encode, similarity=kind, work=tmp_path / "work", **options)
    assert pairs(chosen) == pairs(found)
    by_cosine = mine(examples, corpus, encoder=Encoder(), similarity="cosine", work=tmp_path / "work", **options)
    assert pairs(by_cosine) != pairs(found)
    if method == "dense":
        expected = naive(examples, corpus, score, negatives=5, window=(1, 150), below=lambda low: low - 0.1 * abs(low))
        assert [[text for text, _ in row] for row in pairs(found)] == [[text for text, _ in row] for row in expected]
        assert sum(map(len, expected)) > 20


def test_bm25_equals_the_loop_over_all_pairs() -> None:
    texts = [
        "red fox",
        "quick red fox runs",
        "brown dog",
        "lazy brown dog sleeps",
        "the fox and the dog",
        "blue bird",
        "a fox den",
    ]
    examples = [
        Example("quick fox", (texts[1],)),
        Example("brown dog", ("lazy brown dog sleeps!", texts[4])),
        Example("bird", ("nest",)),
    ]
    answers = ["lazy brown dog sleeps!", "nest"]  # scored, but not to be found
    index = Bm25Index([*texts, *answers], purpose="a test", tokens=lambda text: tokenize(text, characters=True))
    place = {text: number for number, text in enumerate([*texts, *answers])}
    expected = naive(
        examples,
        texts,
        lambda query, some: index.scores(query)[[place[text] for text in some]],
        negatives=3,
        window=(1, 5),
        below=lambda low: 0.95 * low,
        unranked=0,
    )
    ranked = {"negatives": 3, "window": (1, 5), "perc": 0.95, "fill": "none"}
    found = mine(examples, texts, **ranked)
    assert [row.negatives for row in found.examples] == [tuple(text for text, _ in row) for row in expected]
    assert expected[0]
    assert found.examples[2].negatives == ()  # its answer shares no word with it, so no score lies below 0.95 of 0
    assert all(row.positive_scores is None and row.negative_scores is None for row in found.examples)
    assert found.statistics.positive_scores["q00"] == 0.0
    # without a share of the scores, and with random texts, the row gets as many as are wanted
    assert [len(row.negatives) for row in mine(examples, texts, negatives=3).examples] == [3, 3, 3]
    assert mine(examples, texts, negatives=3).examples == mine(examples, texts, negatives=3).examples


def test_hybrid_fuses_ranks_and_scores_by_cosine() -> None:
    examples, corpus = collection()
    plain = {"perc": None, "negatives": 12, "window": (1, 12)}
    lexical, vectors = (
        mine(examples, corpus, method=method, encoder=encoder, fill="none", **plain)
        for method, encoder in (("bm25", None), ("dense", scattered))
    )
    found = mine(examples, corpus, method="hybrid", encoder=scattered, **plain)
    place = {name: number for number, name in enumerate(dict.fromkeys(key(text) for text in corpus if text.strip()))}
    for row, one, two in zip(found.examples, lexical.examples, vectors.examples):
        fused: dict[str, float] = {}
        for side in (one, two):
            for rank, text in enumerate(side.negatives, start=1):
                fused[text] = fused.get(text, 0) + 1 / (60 + rank)
        assert list(row.negatives) == sorted(fused, key=lambda text: (-fused[text], place[key(text)]))[:12]
        assert row.negative_scores == pytest.approx(cosines(scattered, row.query, row.negatives), abs=1e-6)
    limited = mine(examples, corpus, method="hybrid", encoder=scattered, perc=0.9, negatives=4, window=(1, 12))
    assert all(max(row.negative_scores) < max(row.positive_scores) for row in limited.examples if row.negatives)


def test_block_sizes_and_backend_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    examples, corpus = collection()
    run = {"method": "dense", "encoder": scattered, "window": (2, 30), "sampling": "random", "seed": 4}
    whole = mine(examples, corpus, **run)
    with monkeypatch.context() as patch:
        patch.setattr(vector_shards, "CHUNK", 17)
        patch.setattr(dense, "DOCUMENT_BLOCK", 5)
        patch.setattr(dense, "QUERY_TILE", 3)
        patch.setattr(mine_file, "ROW_BLOCK", 7)
        calls = []
        counting = lambda texts: (calls.append(len(texts)), scattered(texts))[1]  # noqa: E731
        blocks = mine(examples, corpus, **{**run, "encoder": counting})
    assert max(calls) <= 17
    assert blocks.examples == whole.examples
    assert blocks.statistics.summary() == whole.statistics.summary()
    pytest.importorskip("faiss", reason="faiss is not installed (pip install 'bothways[mine]')")
    assert mine(examples, corpus, **run, backend="faiss").examples == whole.examples


def test_existing_negatives_are_part_of_the_corpus_and_replaced() -> None:
    rows = [Example("q", ("p 0.9",), ("n 0.5", "n 0.2"), (1.0,), (0.5, 0.1)), Example("r", ("s 0.9",))]
    found = mine(rows, method="dense", encoder=fan, negatives=2, perc=0.6)
    assert [row.negatives for row in found.examples] == [("n 0.5", "n 0.2")] * 2
    assert found.examples[0].negative_scores == (0.5, 0.2)
    assert found.examples[0].positive_scores == pytest.approx((0.9,))


def test_rules_evaluation_texts_and_empty_rows() -> None:
    rows = [Example("q", ("p 0.9",)), Example("r", ("p 0.3",))]
    corpus = ["a 0.7", "held 0.6", "c 0.5", "d 0.4"]
    run = {"method": "dense", "encoder": fan, "negatives": 2}
    rules = [lambda example, text: "starts with c" if text.startswith("c") else None]
    found = mine(rows, corpus, **run, without=Overlap(["Held 0.6!"]), exclude=rules)
    assert found.examples[0].negatives == ("a 0.7", "d 0.4")
    assert found.examples[1].negatives == ()
    summary = found.statistics.summary()
    assert summary["filtered"]["starts with c"] == 1
    assert summary["documents"]["held_by_evaluation_data"] == 1
    assert summary["rows"] == {"all": 2, "full": 1, "short": 0, "without_negatives": 1}
    assert summary["without_negatives"]["mostly_because"] == {"scored too near to the positive (share)": 1}
    assert [row.query for row in mine(rows, corpus, **run, empty="drop").examples] == ["q"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"negatives": 0}, "negatives: must be at least 1"),
        ({"window": (0, 5)}, "window: 0:5"),
        ({"window": (5, 4)}, "window: 5:4"),
        ({"window": (1, 3)}, "window: 1:3 has only 3 ranks for 7 negatives"),
        ({"perc": 1.5}, "perc: 1.5"),
        ({"margin": -1}, "margin: -1"),
        ({"max_score": float("nan")}, "max_score: nan"),
        ({"method": "tfidf"}, "method: 'tfidf'; expected one of bm25, dense, hybrid"),
        ({"sampling": "best"}, "sampling: 'best'"),
        ({"method": "dense"}, "method: 'dense' needs an encoder"),
        ({"encoder": scattered}, "method: 'bm25' does not use an encoder"),
        ({"corpus": []}, "corpus: no texts"),
        ({"corpus": ["", " "]}, "corpus: all texts are empty or excluded"),
        ({"examples": []}, "examples: empty"),
        ({"examples": ["text"]}, r"examples\[0\]: expected an Example \(got str\)"),
    ],
)
def test_bad_requests_get_one_line(changes, message) -> None:
    given = {"examples": [Example("q", ("p",))], "corpus": ["a"], **changes}
    with pytest.raises(InputError, match=message) as caught:
        mine(given.pop("examples"), given.pop("corpus"), **given)
    assert "\n" not in str(caught.value)


def test_the_naive_loop_would_notice() -> None:
    """Without the rows of the same query, the reference gives something else: the collection does
    test for them.
    """
    examples, corpus = collection()
    options = {"negatives": 5, "window": (1, 150), "below": lambda low: low}
    alone = [
        naive([replace(row, label=None)], corpus, lambda query, texts: cosines(scattered, query, texts), **options)[0]
        for row in examples
    ]
    assert alone != naive(examples, corpus, lambda query, texts: cosines(scattered, query, texts), **options)
