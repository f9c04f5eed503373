"""Qdrant through its own client in local mode: the contract of stores, and what its filters lack.

`make stores` runs it with qdrant-client installed.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

import bothways as bw
from bothways.errors import InputError, MissingExtra, SourceError
from bothways.similarity_names import SIMILARITIES
from unit.indexing.contract import check_similarity, check_store, write_source

needs_client = pytest.mark.skipif(find_spec("qdrant_client") is None, reason="qdrant-client is not installed (make stores)")


@needs_client
def test_it_keeps_the_contract(encoder, tmp_path: Path) -> None:
    check_store(f"qdrant://{tmp_path}/base/notes", encoder, tmp_path, likes=False)


@needs_client
@pytest.mark.parametrize("kind", SIMILARITIES)
def test_it_ranks_as_the_encoder_says(saved, tmp_path: Path, kind: str) -> None:
    check_similarity(f"qdrant://{tmp_path}/base/{kind}", saved, tmp_path, kind)


@needs_client
def test_an_interrupted_document_is_written_again(encoder, tmp_path: Path) -> None:
    write_source(tmp_path / "notes")
    place = f"qdrant://{tmp_path}/base/notes"
    made = bw.index(tmp_path / "notes", model=encoder, to=place, chunks=5, unit="line")
    rows = len(made)
    (hit, *_) = made.search("A cat sits on", where="row = 1", top=1)
    store = made.store
    first = [point.id for point in store._points(None, True) if point.payload["row"] == 1 and point.payload["first"]]
    store._client.delete(store._name, points_selector=first, wait=True)
    made.close()
    again = bw.index(tmp_path / "notes", model=encoder, to=place, chunks=5, unit="line")
    assert again.changes.encoded + again.changes.copied == len(first) == 2 and len(again) == rows
    assert again.search("A cat sits on", where="row = 1", top=1) == [hit]
    again.close()


@needs_client
def test_texts_are_compared_for_equality_only(encoder, tmp_path: Path) -> None:
    write_source(tmp_path / "notes")
    with bw.index(tmp_path / "notes", model=encoder, to=f"qdrant://{tmp_path}/base/notes") as made:
        for where in ("file LIKE '%a.txt'", "text < 'b'"):
            with pytest.raises(InputError, match="Qdrant does not compare texts with"):
                made.search("x", where=where)


@needs_client
def test_places_that_are_not_collections(encoder, tmp_path: Path) -> None:
    for url in ("qdrant://localhost", "qdrant://localhost/a/b", "qdrant:///notes", "http://localhost:1/a b"):
        with pytest.raises(InputError, match="must be like qdrant://"):
            bw.open_index(url)
    with pytest.raises(SourceError, match="Qdrant did not answer as expected") as raised:
        bw.open_index("qdrant://127.0.0.1:9/notes")
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="there is no index; make one"):
        bw.open_index(f"qdrant://{tmp_path}/base/notes", model=encoder)


@pytest.mark.skipif(find_spec("qdrant_client") is not None, reason="qdrant-client is installed")
def test_the_missing_client_is_named() -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'bothways\[qdrant\]'"):
        bw.open_index("qdrant://localhost:6333/notes")
