"""Documents in int8 or as signs: the rankings of a loop over all documents, and of sentence-transformers."""

from __future__ import annotations

import numpy as np
import pytest

from bothways.errors import InputError
from bothways.search.quantized import Quantization, QuantizedIndex, Ranges, nearest_documents
from bothways.search.ranker import DenseRanker
from bothways.search.vectors import unit

WIDTH = 61  # not a multiple of eight


def vectors(count: int, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32))


def brute(documents: np.ndarray, query: np.ndarray, depth: int, chosen: Quantization) -> list[tuple[int, float]]:
    """A loop over documents in float64 and in Python's own whole numbers."""
    bits = [sum(1 << place for place, number in enumerate(row) if number > 0) for row in documents]
    asked = sum(1 << place for place, number in enumerate(query) if number > 0)
    low, high = documents.min(0).astype(float), documents.max(0).astype(float)
    step = (high - low) / 255
    kept = {
        None: [np.where(row > 0, 1, -1) / len(row) ** 0.5 for row in documents],
        "int8": list(np.round((documents - low) / step) * step + low),
        "float32": list(documents.astype(float)),
    }
    if chosen.precision == "binary":
        first = [1 - 2 * (code ^ asked).bit_count() / len(query) for code in bits]
    else:
        first = [float(query.astype(float) @ row) for row in kept["int8"]]
    order = sorted(range(len(documents)), key=lambda place: (-round(first[place], 7), place))
    if chosen.rescore is None:
        return [(place, first[place]) for place in order[:depth]]
    again = {place: float(query.astype(float) @ kept[chosen.rescore_with][place]) for place in order[: depth * chosen.rescore]}
    order = sorted(again, key=lambda place: (-again[place], place))
    return [(place, again[place]) for place in order[:depth]]


@pytest.mark.parametrize(
    "chosen",
    [
        Quantization("binary"),
        Quantization("binary", rescore=1),
        Quantization("binary", rescore=4),
        Quantization("binary", rescore=4, rescore_with="int8"),
        Quantization("binary", rescore=3, rescore_with="float32"),
        Quantization("int8"),
        Quantization("int8", rescore=4, rescore_with="float32"),
    ],
    ids=str,
)
def test_the_ranking_is_that_of_a_loop(chosen: Quantization) -> None:
    documents, queries = vectors(300), vectors(9, seed=1)
    documents[7] = documents[200]  # a document twice: the earlier one comes first
    for query, (places, scores) in zip(queries, nearest_documents(documents, queries, 10, chosen)):
        expected = brute(documents, query, 10, chosen)
        assert places.tolist() == [place for place, _ in expected]
        assert np.allclose(scores, [score for _, score in expected], atol=2e-6)


def test_many_ties_of_signs_leave_the_earlier_documents() -> None:
    documents, queries = vectors(500, width=8), vectors(5, seed=1, width=8)
    for query, (places, _) in zip(queries, nearest_documents(documents, queries, 20, Quantization("binary"))):
        assert places.tolist() == [place for place, _ in brute(documents, query, 20, Quantization("binary"))]


@pytest.mark.parametrize("rescore_all", [True, False])
def test_scores_are_those_of_sentence_transformers(rescore_all: bool) -> None:
    """Its bits are 0 and 1 and ours -1 and 1, which orders documents alike: q·b = (q·s + Σq) / 2."""
    pytest.importorskip("faiss", reason="faiss is not installed (pip install 'bothways[mine]')")
    from sentence_transformers.util.quantization import quantize_embeddings, semantic_search_faiss

    documents, queries = vectors(200, width=64), vectors(6, seed=1, width=64)
    depth = 50 if rescore_all else 10
    hits, _ = semantic_search_faiss(  # type: ignore[misc]
        queries,
        corpus_embeddings=quantize_embeddings(documents, "ubinary"),
        corpus_precision="ubinary",
        top_k=depth,
        rescore_multiplier=4,
    )
    found = nearest_documents(documents, queries, depth, Quantization("binary", rescore=4))
    for query, (places, scores), theirs in zip(queries, found, hits):
        ours = {int(place): (float(score) * 8 + float(query.sum())) / 2 for place, score in zip(places, scores)}
        both = [hit for hit in theirs if hit["corpus_id"] in ours]
        # of candidates with as many equal signs as the last one, each keeps its own choice
        assert len(both) >= (depth if rescore_all else depth - 2)
        assert all(np.isclose(ours[hit["corpus_id"]], hit["score"], atol=1e-5) for hit in both)


def test_int8_is_within_half_a_step_and_later_numbers_are_clipped() -> None:
    documents = vectors(100)
    ranges = Ranges(documents)
    assert (np.abs(ranges.decode(ranges.encode(documents)) - documents) <= ranges.step / 2 + 1e-7).all()
    far = ranges.decode(ranges.encode(np.array([[9.0] * WIDTH, [-9.0] * WIDTH], np.float32)))
    assert np.allclose(far, [documents.max(0), documents.min(0)], atol=1e-6)
    constant = np.ones((3, 4), np.float32)
    assert (Ranges(constant).decode(Ranges(constant).encode(constant)) == constant).all()


def test_blocks_do_not_change_binary() -> None:
    documents, queries = vectors(100), vectors(4, seed=1)
    index = QuantizedIndex(Quantization("binary", rescore=2))
    for first in (0, 30, 31, 90):
        index.add(documents[first : {0: 30, 30: 31, 31: 90, 90: 100}[first]])
    whole = nearest_documents(documents, queries, 5, index.quantization)
    for (places, scores), (expected, values) in zip(index.search(queries, 5), whole):
        assert (places == expected).all() and (scores == values).all()


@pytest.mark.parametrize(
    ("chosen", "size"), [(Quantization("binary"), 72), (Quantization("int8"), 576), (Quantization(), 2304)]
)
def test_bytes_of_a_document(chosen: Quantization, size: int) -> None:
    assert chosen.bytes_of(576) == size


class Numbers:
    """A vector for each text "d 7" or "q 7"."""

    def encode(self, texts):
        return np.stack([vectors(1, seed=int(text.split()[1]) + 1000 * (text[0] == "q"))[0] for text in texts])


@pytest.mark.parametrize("chunk", [16, 1000])
def test_the_ranker_leaves_out_the_query_itself(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    from bothways.search import ranker

    monkeypatch.setattr(ranker, "ENCODE_CHUNK", chunk)
    corpus = {f"x{number}": f"d {number}" for number in range(40)}
    queries = {"x3": "d 3", "q": "q 1"}
    chosen = Quantization("binary", rescore=2)
    found = DenseRanker(Numbers(), quantization=chosen).rank(queries, corpus, depth=5, ignore_identical_ids=True)
    documents = Numbers().encode([corpus[name] for name in found.doc_ids])
    for row, (query, text) in enumerate(queries.items()):
        # one more candidate is asked for, because the query's own document is left out
        expected = [place for place, _ in brute(documents, Numbers().encode([text])[0], 6, chosen)]
        expected = [place for place in expected if found.doc_ids[place] != query][:5]
        assert found.index[row].tolist() == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("binery",), "choose one of float32, int8, binary"),
        (("binary", 0), "rescore: must be at least 1"),
        (("float32", 4), "rescore: vectors in float32 are scored exactly already"),
        (("int8", 4), "set rescore_with to float32"),
        (("binary", None, "int8"), "rescore_with: needs rescore"),
        (("binary", 4, "binary"), "rescore_with: must be int8 or float32"),
    ],
)
def test_choices_that_mean_nothing_are_refused(values, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Quantization(*values)


def test_faiss_and_quantized_documents_are_refused_together() -> None:
    pytest.importorskip("faiss", reason="faiss is not installed (pip install 'bothways[mine]')")
    with pytest.raises(InputError, match="leave out either backend or precision binary"):
        DenseRanker(Numbers(), backend="faiss", quantization=Quantization("binary"))


def test_another_width_is_refused() -> None:
    with pytest.raises(InputError, match="3 dimensions, document vectors 61"):
        nearest_documents(vectors(5), vectors(1, width=3), 2, Quantization("int8"))
