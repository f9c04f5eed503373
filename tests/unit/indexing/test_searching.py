"""Searches: arguments that are refused, ties at the edge of the candidates, ranks that are joined."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import bothways as bw
from bothways.errors import InputError
from bothways.indexing import searching
from bothways.indexing.filters import read_where
from bothways.indexing.index_rows import SIZE, Entry
from bothways.indexing.places import open_store
from bothways.indexing.searching import fused
from bothways.indexing.store import RemovedIndex
from bothways.similarity import prepared, similarity_of
from bothways.similarity_names import SIMILARITIES
from unit.indexing.contract import VARIED, check_similarity


@pytest.fixture(scope="module")
def made(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("searching")
    (folder / "t.txt").write_text("one\ntwo\n東京", encoding="utf-8")
    return bw.index(folder / "t.txt", model=encoder, to=folder / "x")


def test_one_query_or_several(made) -> None:
    assert made.search(["one", "two"], top=1) == [made.search("one", top=1), made.search("two", top=1)]
    assert made.search("three hundred words " * 300, top=1)  # longer than the model reads
    assert [hit.text for hit in made.search("東京", hybrid=True, top=1)] == ["東京"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "top: must be a whole number from 1 to 10000"),
        ({"top": 10**9}, "top: must be a whole number from 1 to 10000"),
        ({"top": 2.5}, "top: must be a whole number from 1 to 10000 (got 2.5)"),
        ({"top": "3"}, "top: must be a whole number from 1 to 10000 (got '3')"),
        ({"where": 3}, "where: must be a text (got 3)"),
        ({"query": ""}, "query: must be a text"),
        ({"query": []}, "query: must be a text"),
        ({"query": ["a", " "]}, "query: must be a text"),
        ({"where": "nothing"}, "where: expected one of the columns"),
    ],
)
def test_wrong_arguments(made, options, message) -> None:
    with pytest.raises(InputError) as raised:
        made.search(**{"query": "one", **options})
    assert message in str(raised.value)


def test_a_vector_of_another_width(made) -> None:
    with pytest.raises(InputError, match=r"shape \(5,\), and the index has 32"):
        made.search_vector("one", np.ones(5, np.float32))


class ManyTies:
    """A store that gives rows with equal vectors in the worst order."""

    words = None
    place = "ties"

    def __init__(self, rows: int) -> None:
        self.rows, self.asked = rows, []

    def nearest(self, query, count, where, *, exact, similarity):
        self.asked.append(count)
        places = range(self.rows)[::-1][:count]
        entries = [Entry(b"%d" % place, b"", b"", "", "f", place, 0, 1, "") for place in places]
        return searching_near(entries, np.tile(query, (len(entries), 1)))


def searching_near(entries, vectors):
    from bothways.indexing.store import Near

    return Near(entries, vectors)


def test_more_rows_are_asked_for_while_the_last_ones_tie(made) -> None:
    opened = object.__new__(searching.Index)
    opened.store, opened.settings = ManyTies(100), made.settings
    vector = np.zeros(32, np.float32)
    vector[0] = 1
    found = opened._dense(vector, 3, None, True)
    assert [entry.row for entry, _ in found] == [0, 1, 2]
    assert opened.store.asked == [19, 38, 76, 152]


def stored(store, vectors: np.ndarray, files: list[str]) -> None:
    """Add rows of one text each, and finish as an approximate index."""
    entries = [
        Entry(place.to_bytes(SIZE, "big"), place.to_bytes(SIZE, "big"), b"d" * SIZE, "", file, place, 0, 1, "x")
        for place, file in enumerate(files)
    ]
    store.add(entries, vectors)
    store.finish(approximate=True)


@pytest.mark.parametrize(("name", "needs"), [("x", "lancedb"), ("x.faiss", "faiss")])
def test_a_condition_finds_as_many_rows_as_satisfy_it(made, tmp_path, name, needs) -> None:
    """A graph that is searched from the query's side does not reach rows on the other side."""
    pytest.importorskip(needs)
    generator = np.random.default_rng(0)
    near, far = generator.standard_normal((900, 32)), generator.standard_normal((40, 32)) / 20
    near[:, 0], far[:, 0] = np.abs(near[:, 0]), -1
    vectors = prepared(np.concatenate([near, far]), "cosine").astype(np.float32)
    opened = object.__new__(searching.Index)
    opened.settings = made.settings.model_copy(update={"approximate": True})
    opened.store = open_store(tmp_path / name, opened.settings)
    stored(opened.store, vectors, ["near"] * len(near) + ["far"] * len(far))
    query = np.eye(32, dtype=np.float32)[0]
    found = opened._dense(query, 10, read_where("file = 'far'"), False)
    scores = vectors[len(near) :].astype(np.float64) @ query.astype(np.float64)
    assert [entry.row - len(near) for entry, _ in found] == np.argsort(-scores, kind="stable")[:10].tolist()
    opened.store.close()


def test_ranks_are_joined_as_in_the_paper() -> None:
    joined = fused([[b"a", b"b"], [b"b", b"c"]])
    assert joined == {b"a": 1 / 61, b"b": 1 / 62 + 1 / 61, b"c": 1 / 62}
    assert fused([[], []]) == {}


@pytest.mark.parametrize(("name", "needs"), [("x", "lancedb"), ("x.faiss", "faiss")])
def test_an_index_that_was_removed_and_made_again(encoder, tmp_path, name, needs) -> None:
    """An open index shows the new texts, and encodes queries with the new instruction."""
    pytest.importorskip(needs)
    (tmp_path / "t.txt").write_text("one\ntwo\nthree")
    bw.index(tmp_path / "t.txt", model=encoder, to=tmp_path / name).close()
    opened = bw.open_index(tmp_path / name, model=encoder)
    old = encoder.encode_query("one", normalize_embeddings=True)
    assert opened.search_vector("one", old)
    for path in tmp_path.glob("x*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (tmp_path / "t.txt").write_text("four\nfive\nsix")
    bw.index(tmp_path / "t.txt", model=encoder, to=tmp_path / name, query_prompt="Other:\n").close()
    with pytest.raises(InputError, match="was made again with other settings; send the query again"):
        opened.search_vector("one", old)
    fresh = bw.open_index(tmp_path / name, model=encoder)
    assert {hit.text for hit in opened.search("one")} == {"four", "five", "six"}
    assert opened.search("one") == fresh.search("one") != opened.search_vector("one", old)
    opened.close()
    fresh.close()


@pytest.mark.parametrize(("name", "needs"), [("x", "lancedb"), ("x.faiss", "faiss")])
def test_an_open_index_that_is_removed_says_so_and_goes_on_when_it_is_back(encoder, tmp_path, name, needs) -> None:
    pytest.importorskip(needs)
    (tmp_path / "t.txt").write_text("one\ntwo\nthree")
    bw.index(tmp_path / "t.txt", model=encoder, to=tmp_path / name).close()
    (tmp_path / "away").mkdir()
    with bw.open_index(tmp_path / name, model=encoder) as opened:
        expected = opened.search("one")
        for again in ("moved back", "made again"):
            for path in tmp_path.glob("x*"):
                path.rename(tmp_path / "away" / path.name)
            for _ in range(2):
                with pytest.raises(RemovedIndex, match=rf"{name}: the index was removed; put it back or index again"):
                    opened.search("one")
            if again == "moved back":
                for path in (tmp_path / "away").iterdir():
                    path.rename(tmp_path / path.name)
            else:
                bw.index(tmp_path / "t.txt", model=encoder, to=tmp_path / name).close()
            assert opened.search("one") == expected
            assert opened.search("one", hybrid=True)[0].text == "one"


@pytest.mark.parametrize(
    ("name", "needs", "approximate"), [("x", "lancedb", False), ("x.faiss", "faiss", False), ("x.faiss", "faiss", True)]
)
@pytest.mark.parametrize("kind", SIMILARITIES)
def test_an_index_ranks_as_its_encoder_says(saved, tmp_path, kind, name, needs, approximate) -> None:
    pytest.importorskip(needs)
    if (kind, name) != ("manhattan", "x"):
        check_similarity(tmp_path / name, saved, tmp_path, kind, approximate=approximate)
        return
    with pytest.raises(InputError, match=r"LanceDB does not know the manhattan similarity; use a .faiss file .*--similarity"):
        check_similarity(tmp_path / name, saved, tmp_path, kind)
    assert not (tmp_path / name).exists()


def test_the_caller_may_choose_the_similarity(encoder, tmp_path) -> None:
    pytest.importorskip("faiss")
    (tmp_path / "t.txt").write_text("\n".join(VARIED))
    theirs = similarity_of(encoder.encode_query("two cats"), encoder.encode_document(VARIED), "manhattan")[0].numpy()
    with bw.index(tmp_path / "t.txt", model=encoder, to=tmp_path / "x.faiss", similarity="manhattan") as made:
        found = made.search("two cats", top=5)
    assert [hit.text for hit in found] == [VARIED[place] for place in np.argsort(-theirs, kind="stable")[:5]]
    with pytest.raises(InputError, match="similarity: 'euclid' is unknown; did you mean 'euclidean'"):
        bw.index(tmp_path / "t.txt", model=encoder, to=tmp_path / "y.faiss", similarity="euclid")
