"""A folder with LanceDB: the contract of stores, and damaged or full folders."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

import bothways as bw
from bothways.errors import InputError
from bothways.indexing.index_rows import SIZE, Entry
from bothways.indexing.lance_store import SETTINGS, LanceStore
from bothways.indexing.settings import IndexSettings
from bothways.similarity_names import Similarity
from unit.indexing.contract import TEXTS, check_store, write_source


def test_it_keeps_the_contract(encoder, tmp_path: Path) -> None:
    check_store(tmp_path / "x.index", encoder, tmp_path)


def test_an_approximate_index_finds_the_nearest_exactly_if_asked(encoder, tmp_path: Path) -> None:
    source = tmp_path / "many.txt"
    source.write_text("\n".join(f"{text} {number}" for number in range(10) for text in TEXTS), encoding="utf-8")
    exact = bw.index(source, model=encoder, to=tmp_path / "exact")
    fast = bw.index(source, model=encoder, to=tmp_path / "fast", approximate=True)
    assert fast.store._table.list_indices() and not exact.store._table.list_indices()
    for query in ("a cat", "two and two"):
        wanted = exact.search(query, top=10)
        assert fast.search(query, top=10, exact=True) == wanted
        assert len({hit.text for hit in fast.search(query, top=10)} & {hit.text for hit in wanted}) >= 5
    assert bw.index(source, model=encoder, to=tmp_path / "fast").settings.approximate


@pytest.mark.parametrize("kind", ["cosine", "dot", "euclidean"])
def test_a_zero_vector_is_found_too(tmp_path: Path, kind: Similarity) -> None:
    """Lance leaves it out of its own ranking by cosine."""
    store = LanceStore(tmp_path / "x", IndexSettings(model="m", fingerprint="f", dtype="float32", dimension=2, similarity=kind))
    vectors = np.array([[1, 0], [0, 0], [0, 1], [-1, 0]], np.float32)
    names = [place.to_bytes(SIZE, "big") for place in range(len(vectors))]
    store.add([Entry(name, name, name, "", "f", place, 0, 1, "x") for place, name in enumerate(names)], vectors)
    near = store.nearest(vectors[0], 4, None, exact=True, similarity=kind)
    assert sorted(entry.row for entry in near.entries) == [0, 1, 2, 3]


@pytest.fixture(scope="module")
def index(encoder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lance")
    write_source(folder / "notes")
    bw.index(folder / "notes", model=encoder, to=folder / "x.index").close()
    return folder / "x.index"


@pytest.mark.parametrize("damage", ["settings", "version", "table", "data"])
def test_a_damaged_index_is_one_line(index: Path, encoder, tmp_path: Path, damage: str) -> None:
    broken = tmp_path / "broken.index"
    shutil.copytree(index, broken)
    if damage == "settings":
        (broken / SETTINGS).write_text("{", encoding="utf-8")
    elif damage == "version":
        values = json.loads((broken / SETTINGS).read_text(encoding="utf-8"))
        (broken / SETTINGS).write_text(json.dumps({**values, "format": 99}), encoding="utf-8")
    elif damage == "table":
        shutil.rmtree(broken / "rows.lance")
    else:
        for file in (broken / "rows.lance" / "data").iterdir():
            file.write_bytes(b"\0" * 100)
    with pytest.raises(InputError) as raised:
        bw.open_index(broken, model=encoder).search("a cat")
    assert str(broken) in str(raised.value) and "\n" not in str(raised.value)


def test_other_folders_are_left_alone(encoder, saved, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file.txt").write_text("text", encoding="utf-8")
    with pytest.raises(InputError, match="is not empty and holds no index"):
        bw.index(tmp_path / "mine" / "file.txt", model=encoder, to=tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["file.txt"]
    with pytest.raises(InputError, match="holds no index; make one with: bothways index SOURCE"):
        bw.open_index(tmp_path / "missing")
    with pytest.raises(InputError, match="is a file"):
        bw.open_index(tmp_path / "mine" / "file.txt")
    assert not (tmp_path / "missing").exists()


def test_it_is_seen_by_readers_at_once(encoder, tmp_path: Path) -> None:
    source = tmp_path / "t.txt"
    source.write_text("one\ntwo", encoding="utf-8")
    bw.index(source, model=encoder, to=tmp_path / "x").close()
    reader = bw.open_index(tmp_path / "x", model=encoder)
    assert len(reader.search("one", hybrid=True)) == 2
    source.write_text("one\ntwo\nthree", encoding="utf-8")
    bw.index(source, model=encoder, to=tmp_path / "x").close()
    assert [hit.text for hit in reader.search("three", hybrid=True, top=1)] == ["three"]
    assert len(reader.search("one")) == 3
    assert isinstance(reader.store, LanceStore)


@pytest.mark.parametrize(
    "where",
    [
        "NOT " * 19 + "row = 1",
        "NOT (row = 7 AND " * 9 + "row = 1" + ")" * 9,
        "row = 1 OR (row = 9 AND " * 9 + "row = 1 OR row = 2" + ")" * 9,
        "(" * 19 + "row = 1" + ")" * 19,
        " OR ".join(["row = 1"] * 500),
    ],
)
def test_the_deepest_conditions_are_quick(encoder, tmp_path: Path, where: str) -> None:
    """All that `--where` takes is written in a form that Lance reads at once."""
    write_source(tmp_path / "notes")
    with bw.index(tmp_path / "notes" / "a.txt", model=encoder, to=tmp_path / "x") as made:
        begun = time.monotonic()
        made.search("a cat", where=where, hybrid=True)
        assert time.monotonic() - begun < 5
