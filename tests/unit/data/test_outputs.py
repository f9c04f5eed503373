"""What bothways wrote into a folder of texts is not read as texts the next time."""

from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from bothways.data.outputs import is_output
from tiny import tiny_llama


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return bw.convert(tiny_llama(tmp_path_factory.mktemp("outputs")), dtype="float32")


@pytest.mark.parametrize(("name", "needs"), [("x.index", "lancedb"), ("x.faiss", "faiss")])
def test_an_index_in_its_own_source(encoder, tmp_path: Path, name, needs) -> None:
    pytest.importorskip(needs)
    pytest.importorskip("bm25s")
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    for kept in (0, 2):
        with bw.index(tmp_path, model=encoder, to=tmp_path / name) as made:
            assert (made.changes.kept, made.changes.rows) == (kept, 2)
            made.search("one", hybrid=True)  # writes the words


def test_shards_in_their_own_source(encoder, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    manifests = [bw.bulk_encode(encoder, tmp_path, tmp_path / "vectors") for _ in range(2)]
    assert manifests[0] == manifests[1] and manifests[0]["texts"] == 2


def test_other_folders_are_read(tmp_path: Path) -> None:
    for name in ("manifest.json", "index.json"):
        (tmp_path / name).write_text('{"format": "mine"}')
    assert not is_output(tmp_path)
    (tmp_path / "manifest.json").write_text("[1")
    assert not is_output(tmp_path)
