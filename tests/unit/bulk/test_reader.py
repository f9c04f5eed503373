"""Vectors read from shards: in order, by place, for a search; a damaged shard is named."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import bothways as bw
from bothways.encoder import vector_files
from bothways.errors import InputError
from bothways.search.dense import DenseIndex
from unit.bulk.material import ROWS, TEXTS, nearest, reopened, source


@pytest.fixture(scope="module")
def folder(model: Path, tmp_path_factory) -> Path:
    """A complete folder, with three vectors to a row group."""
    place = tmp_path_factory.mktemp("read")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_files, "_GROUP", 3)
        bw.bulk_encode(model, source(place), place / "out", device="cpu", dtype="float32", shard_rows=ROWS)
    return place / "out"


@pytest.fixture(scope="module")
def vectors(model: Path) -> np.ndarray:
    return nearest(reopened(model), TEXTS)


def test_in_order_by_place_and_as_a_whole(folder: Path, vectors: np.ndarray) -> None:
    shards = bw.read_shards(folder, verify=True)
    assert (len(shards), shards.width, shards.columns) == (40, 32, ("vector",))
    assert np.abs(shards.array() - vectors).max() < 1e-6
    for size, stop in ((5, 40), (100, 23), (7, 7), (1, 3)):
        blocks = list(shards.blocks(size, stop))
        assert all(len(block) <= size and block.dtype == np.float32 for _, block in blocks)
        assert [first for first, _ in blocks] == [0, *np.cumsum([len(block) for _, block in blocks])[:-1]]
        assert np.abs(np.concatenate([block for _, block in blocks]) - vectors[:stop]).max() < 1e-6
    places = [39, 0, 7, 6, 39, 20]
    assert np.abs(shards.rows(places) - vectors[places]).max() < 1e-6
    assert shards.texts(places) == [TEXTS[place] for place in places]
    assert [text for table in shards.tables(["text"]) for text in table["text"].to_pylist()] == TEXTS
    with pytest.raises(InputError, match="place 40: must lie between 0 and 39"):
        shards.rows([40])
    with pytest.raises(InputError, match="no vectors 'ebae'; there are vector"):
        shards.array(column="ebae")


@pytest.mark.parametrize("backend", ["exact", "faiss"])
def test_a_search_takes_them(folder: Path, vectors: np.ndarray, backend) -> None:
    queries = vectors[[3, 17]] + 0.01
    index = DenseIndex(bw.read_shards(folder), 40, backend=backend, block=9)
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    for (places, found), expected in zip(index.search(queries, 5), scores):
        assert places.tolist() == np.argsort(-expected, kind="stable")[:5].tolist()
        assert np.abs(found - np.sort(expected)[::-1][:5]).max() < 1e-6


def test_a_damaged_shard_is_named(folder: Path, vectors: np.ndarray) -> None:
    """One wrong bit, wherever it is, is told or does not matter: page, page header or footer."""
    path = folder / "shard-000003.parquet"
    raw = path.read_bytes()
    footer = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    told = []
    try:
        for place in [*range(0, footer, 5), *range(footer, len(raw), 7)]:
            wrong = bytearray(raw)
            wrong[place] ^= 1
            path.write_bytes(wrong)
            try:
                shards = bw.read_shards(folder)
                found, by_place = shards.array(), shards.rows(range(40))
                assert shards.texts(range(40)) == TEXTS
            except InputError as error:
                assert re.search(r"shard-000003\.parquet: cannot be read \(.*run the same", str(error))
                told.append(place)
            else:
                assert np.abs([found - vectors, by_place - vectors]).max() < 1e-6, place
        assert {place for place in range(footer, len(raw), 7)} <= set(told)
        assert len(told) > len(raw) / 20  # pages too
        path.write_bytes(raw[:-1])
        with pytest.raises(InputError, match=r"shard-000003\.parquet: has \d+ bytes and not \d+; run the same"):
            bw.read_shards(folder)
    finally:
        path.write_bytes(raw)


def test_a_folder_without_checksums_of_footers_is_read(folder: Path, vectors: np.ndarray, tmp_path: Path) -> None:
    """As an older bothways wrote it. Lost rows are told there too."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    for shard in manifest["shards"]:
        del shard["footer_sha256"]
        shard["vectors"] += shard["number"] == 3
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"shard-000003\.parquet: cannot be read \(.*rows and not"):
        bw.read_shards(copy).array()
    manifest["shards"][3]["vectors"] -= 1
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert np.abs(bw.read_shards(copy).array() - vectors).max() < 1e-6


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no manifest\.json, so it is not a folder of encoded shards"):
        bw.read_shards(tmp_path)


def test_loops_within_loops(folder: Path, vectors: np.ndarray) -> None:
    """All pairs of texts, block by block."""
    shards = bw.read_shards(folder)
    found = np.zeros((40, 40), np.float32)
    for first, block in shards.blocks(5):
        for second, other in shards.blocks(7):
            found[first : first + len(block), second : second + len(other)] = block @ other.T
    assert np.abs(found - vectors @ vectors.T).max() < 1e-5
    with pytest.raises(InputError, match="size: must be at least 1"):
        next(shards.blocks(0))
