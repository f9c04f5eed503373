"""A .faiss file: the contract of stores, and files that do not belong together."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

import bothways as bw
from bothways.errors import InputError
from bothways.search.quantized import Quantization
from unit.indexing.contract import TEXTS, check_store, write_source

faiss = pytest.importorskip("faiss", reason="faiss is not installed (pip install 'bothways[mine]')")


def test_it_keeps_the_contract(encoder, tmp_path: Path) -> None:
    check_store(tmp_path / "x.faiss", encoder, tmp_path)


def test_other_programs_read_the_file(encoder, tmp_path: Path) -> None:
    rows = write_source(tmp_path / "notes")
    bw.index(tmp_path / "notes", model=encoder, to=tmp_path / "x.faiss").close()
    index = faiss.read_index(str(tmp_path / "x.faiss"))
    assert index.ntotal == len(rows) == len(TEXTS)
    query = encoder.encode_query(["A cat sits"], normalize_embeddings=True)
    scores = encoder.encode_document(TEXTS, normalize_embeddings=True) @ query[0]
    np.testing.assert_allclose(index.search(query, 3)[0][0], np.sort(scores)[::-1][:3], rtol=0, atol=1e-5)


def test_other_programs_read_the_signs(encoder, tmp_path: Path) -> None:
    rows = write_source(tmp_path / "notes")
    bw.index(tmp_path / "notes", model=encoder, to=tmp_path / "x.faiss", quantization=Quantization("binary")).close()
    index = faiss.read_index_binary(str(tmp_path / "x.faiss"))
    assert index.ntotal == len(rows)
    bits, own = encoder.encode_document(TEXTS) > 0, encoder.encode_query(["A cat sits"]) > 0
    distances, _ = index.search(np.packbits(own, axis=1), len(rows))
    assert distances[0].tolist() == sorted((bits != own).sum(axis=1).tolist())


def test_an_approximate_index_finds_the_nearest_exactly_if_asked(encoder, tmp_path: Path) -> None:
    write_source(tmp_path / "notes")
    exact = bw.index(tmp_path / "notes", model=encoder, to=tmp_path / "exact.faiss")
    fast = bw.index(tmp_path / "notes", model=encoder, to=tmp_path / "fast.faiss", approximate=True)
    where = "row < 20"
    for query in ("a cat", "two and two"):
        assert fast.search(query, exact=True, where=where) == exact.search(query, where=where)
        assert len(set(fast.search(query)) & set(exact.search(query))) >= 3
        assert all(hit.row < 20 for hit in fast.search(query, where=where))


@pytest.mark.parametrize("damage", ["cut", "missing", "other", "rows", "flipped"])
def test_files_that_do_not_belong_together(encoder, tmp_path: Path, damage: str) -> None:
    (tmp_path / "t.txt").write_text("one\ntwo\nthree", encoding="utf-8")
    place = tmp_path / "x.faiss"
    bw.index(tmp_path / "t.txt", model=encoder, to=place).close()
    if damage == "cut":
        place.write_bytes(place.read_bytes()[:100])
    elif damage == "missing":
        place.unlink()
    elif damage == "flipped":  # one bit of a vector: the file is still a FAISS file
        raw = bytearray(place.read_bytes())
        whole = faiss.read_index(str(place))  # it owns the index inside it, so it must live as long
        first = faiss.downcast_index(whole.index).reconstruct(0).tobytes()
        raw[raw.index(first) + 5] ^= 1
        place.write_bytes(raw)
        faiss.read_index(str(place))
    elif damage == "other":
        (tmp_path / "u.txt").write_text("one\ntwo", encoding="utf-8")
        bw.index(tmp_path / "u.txt", model=encoder, to=tmp_path / "y.faiss").close()
        shutil.copy(tmp_path / "y.faiss", place)
    else:
        (tmp_path / "x.faiss.rows").write_bytes(b"not a database" * 1000)
    with pytest.raises(InputError, match=r"x\.faiss.*cannot be read") as raised:
        bw.open_index(place, model=encoder).search("one")
    assert "\n" not in str(raised.value)
    if damage != "rows":
        assert "run the same bothways index again" in str(raised.value)
        again = bw.index(tmp_path / "t.txt", model=encoder, to=place)
        assert (again.changes.encoded, again.changes.kept) == (0, 3)
        assert again.search("one")[0].text == "one"


def test_a_file_of_an_older_version_has_no_digest(encoder, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("one\ntwo\nthree", encoding="utf-8")
    place = tmp_path / "x.faiss"
    bw.index(tmp_path / "t.txt", model=encoder, to=place).close()
    base = sqlite3.connect(tmp_path / "x.faiss.rows")
    base.execute("DROP TABLE file")
    base.commit()
    base.close()
    with bw.open_index(place, model=encoder) as opened:
        assert opened.search("one")[0].text == "one"
    bw.index(tmp_path / "t.txt", model=encoder, to=place).close()


def test_a_file_without_rows_is_not_replaced(encoder, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("one", encoding="utf-8")
    (tmp_path / "x.faiss").write_bytes(b"mine")
    with pytest.raises(InputError, match="exists without rows"):
        bw.index(tmp_path / "t.txt", model=encoder, to=tmp_path / "x.faiss")
    assert (tmp_path / "x.faiss").read_bytes() == b"mine"


@pytest.mark.parametrize("tables", [False, True], ids=["an empty file", "tables without rows"])
def test_what_a_full_disk_leaves_of_a_beginning_is_begun_again(encoder, tmp_path: Path, tables: bool) -> None:
    (tmp_path / "t.txt").write_text("one\ntwo", encoding="utf-8")
    place, rows = tmp_path / "x.faiss", tmp_path / "x.faiss.rows"
    rows.touch()
    if tables:
        base = sqlite3.connect(rows)
        base.execute("CREATE TABLE settings (only INTEGER PRIMARY KEY CHECK (only = 1), value TEXT NOT NULL)")
        base.close()
    with pytest.raises(InputError, match="no index"):
        bw.open_index(place, model=encoder)
    with bw.index(tmp_path / "t.txt", model=encoder, to=place) as made:
        assert made.search("one")[0].text == "one"
