"""Vectors on disk and the nearest of them: equal to a full sort in float64, whatever the blocks; a
broken file is written anew.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bothways.errors import InputError, MissingExtra
from bothways.search.dense import DenseIndex
from bothways.search.topk import TopK
from bothways.search.vector_shards import Shards, encode_shards
from bothways.search.vectors import Vectors
from bothways.similarity import prepared, unit
from bothways.similarity_names import SIMILARITIES

RNG = np.random.default_rng(5)
DOCUMENTS = unit(RNG.standard_normal((203, 12)).astype(np.float32))
QUERIES = unit(RNG.standard_normal((9, 12)).astype(np.float32))
DOCUMENTS[[40, 41, 150]] = DOCUMENTS[7]  # the same vector four times, in several blocks and files


def shards(folder: Path, **options):
    return encode_shards(folder, len(DOCUMENTS), lambda first, end: DOCUMENTS[first:end], **{"chunk": 50, **options})


def full_sort(stop: int, depth: int) -> list[list[int]]:
    exact = QUERIES.astype(np.float64) @ DOCUMENTS[:stop].astype(np.float64).T
    return [sorted(range(stop), key=lambda place: (-np.float32(row[place]), place))[:depth] for row in exact]


@pytest.mark.parametrize(("block", "tile", "chunk"), [(16, 4, 50), (64, 3, 7), (1000, 100, 1000)])
@pytest.mark.parametrize(("stop", "depth"), [(203, 10), (120, 120), (5, 9)])
def test_search_equals_a_full_sort(tmp_path: Path, block: int, tile: int, chunk: int, stop: int, depth: int) -> None:
    index = DenseIndex(shards(tmp_path, chunk=chunk), stop, block=block, tile=tile)
    found = index.search(QUERIES, depth)
    assert [places.tolist() for places, _ in found] == full_sort(stop, depth)
    for query, (places, scores) in zip(QUERIES, found):
        assert scores.tolist() == (DOCUMENTS[places].astype(np.float64) @ query.astype(np.float64)).astype(np.float32).tolist()


@pytest.mark.parametrize("backend", ["exact", "faiss"])
@pytest.mark.parametrize("kind", SIMILARITIES)
@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_every_similarity_equals_a_full_sort_in_float64(backend, kind, shift: float) -> None:
    """Lengths differ, four documents are equal, and with a shift the vectors hardly differ."""
    if backend == "faiss":
        pytest.importorskip("faiss", reason="faiss is not installed (pip install 'bothways[mine]')")
    documents = DOCUMENTS * RNG.uniform(0.2, 3, (len(DOCUMENTS), 1)) + shift
    documents[[40, 41, 150]] = documents[7]
    queries = prepared((QUERIES * 1.5 + shift).astype(np.float32), kind)
    documents = prepared(documents.astype(np.float32), kind)
    index = DenseIndex(Shards([documents], 203), 203, similarity=kind, backend=backend, block=16, tile=4)
    floors = np.full(len(queries), -np.inf, np.float32)
    for _ in range(2):
        lows = []
        for query, (places, scored) in zip(queries, index.search(queries, 30, floors=floors)):
            wide, asked = documents.astype(np.float64), query.astype(np.float64)
            exact = {
                "euclidean": -np.sqrt(((wide - asked) ** 2).sum(1)),
                "manhattan": -np.abs(wide - asked).sum(1),
            }.get(kind, (wide * asked).sum(1))
            order = np.lexsort((np.arange(203), -exact.astype(np.float32)))[: len(places)]
            assert places.tolist() == order.tolist()
            assert scored == pytest.approx(exact[order], rel=1e-6)
            assert len(places) >= 10
            lows.append(scored[9])
        floors = np.array(lows, np.float32)  # the second search leaves out what is lower


def test_numbers_too_large_for_float16(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="float16 has no numbers above 65504, and vectors of this encoder do; use store float32"
    ):
        encode_shards(tmp_path, 2, lambda first, end: np.full((end - first, 3), 1e5, np.float32), store="float16")


def test_faiss_finds_the_same(tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="faiss is not installed (pip install 'bothways[mine]')")
    found = DenseIndex(shards(tmp_path), 150, backend="faiss").search(QUERIES, 20)
    assert [places.tolist() for places, _ in found] == full_sort(150, 20)


def test_memory_is_bounded_by_block_and_tile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    plain = TopK.update
    monkeypatch.setattr(
        TopK, "update", lambda self, scores, *at: (shapes.append(tuple(scores.shape)), plain(self, scores, *at))
    )
    DenseIndex(shards(tmp_path), 203, block=16, tile=4).search(QUERIES, 3)
    assert max(rows for rows, _ in shapes) == 4
    assert max(columns for _, columns in shapes) == 16
    assert sum(rows * columns for rows, columns in shapes) == 9 * 203


def test_missing_and_broken_files_are_encoded_again_and_others_not(tmp_path: Path, caplog) -> None:
    shards(tmp_path)
    (tmp_path / "000001.npy").unlink()
    whole = (tmp_path / "000003.npy").read_bytes()
    (tmp_path / "000003.npy").write_bytes(whole[:-7])
    asked = []

    def encode(first: int, end: int) -> np.ndarray:
        asked.append((first, end))
        return DOCUMENTS[first:end]

    again = encode_shards(tmp_path, len(DOCUMENTS), encode, chunk=50)
    assert asked == [(50, 100), (150, 200)]
    assert "000003.npy: cannot be read" in caplog.text
    assert np.array_equal(again.rows(np.arange(203)[::-1]), DOCUMENTS[::-1])
    assert not list(tmp_path.glob("*.part"))
    half = shards(tmp_path, store="float16")
    assert half.arrays[0].dtype == np.float16
    assert np.abs(half.rows([3, 77]) - DOCUMENTS[[3, 77]]).max() < 5e-4  # 2^-11 of numbers below 1


def test_widths_that_differ(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vectors have 3 numbers and the earlier ones 2"):
        encode_shards(tmp_path, 4, lambda first, end: np.ones((end - first, 2 + (first > 1)), np.float32), chunk=2)
    with pytest.raises(InputError, match="query vectors have 5 dimensions, document vectors 12"):
        DenseIndex(shards(tmp_path / "other"), 9).search(np.ones((1, 5), np.float32), 2)


def test_a_missing_faiss_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"bothways\[mine\]"):
        DenseIndex(shards(tmp_path), 9, backend="faiss")
    with pytest.raises(InputError, match="backend: 'annoy'"):
        DenseIndex(shards(tmp_path), 9, backend="annoy")  # type: ignore[arg-type]


class Roles:
    """Says what it was asked, in the vectors' first two numbers."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []

    def encode(self, texts, prompt=None, show_progress_bar=None, batch_tokens=None):
        self.calls.append((list(texts), prompt, show_progress_bar, batch_tokens))
        return np.array([[len(text), 1.0] for text in texts])

    def encode_query(self, texts, **options):
        return -self.encode(texts, **options)


def test_roles_prompts_and_options_reach_the_encoder() -> None:
    encoder = Roles()
    vectors = Vectors(encoder, batch_tokens=64)
    assert vectors(["ab"], "query", "Q: ")[0, 0] < 0 < vectors(["ab"], "document", None)[0, 0]
    assert encoder.calls == [(["ab"], "Q: ", False, 64), (["ab"], None, False, 64)]
    assert np.linalg.norm(vectors(["ab", "c"], "document", ""), axis=1) == pytest.approx([1, 1], abs=1e-6)
    assert encoder.calls[-1][1] == ""  # none, and not the encoder's own


def test_functions_get_prompts_as_text() -> None:
    asked = []

    def encode(texts: list[str]) -> list[list[float]]:
        asked.extend(texts)
        return [[3.0, 4.0] for _ in texts]

    assert Vectors(encode)(["a", "b"], "query", "Q: ").tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]] * 2
    assert asked == ["Q: a", "Q: b"]


def test_vectors_that_cannot_be_used() -> None:
    with pytest.raises(InputError, match="int cannot encode"):
        Vectors(3)
    with pytest.raises(InputError, match=r"shape \(2,\) for 2 texts"):
        Vectors(lambda texts: np.ones(len(texts)))(["a", "b"], "query", None)
    with pytest.raises(InputError, match="NaN or infinity for 1 texts, first 'bad one'"):
        Vectors(lambda texts: [[np.nan if t == "bad one" else 1.0] for t in texts])(["a", "bad one"], "query", None)


@pytest.mark.parametrize(
    ("named", "asked", "used"), [("dot", None, "dot"), (None, None, "cosine"), ("dot", "cosine", "cosine")]
)
def test_vectors_are_prepared_for_the_similarity(named, asked, used) -> None:
    encoder = Roles()
    encoder.similarity_fn_name = named  # type: ignore[attr-defined]
    vectors = Vectors(encoder, similarity=asked)
    assert vectors.similarity == used
    lengths = np.linalg.norm(vectors(["abc", "a"], "document", None), axis=1)
    assert lengths == pytest.approx([1, 1] if used == "cosine" else [10**0.5, 2**0.5], abs=1e-6)
