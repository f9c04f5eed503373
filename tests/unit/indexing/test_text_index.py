"""The words of an index: kept for the next search, made again when the index or the disk changes."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import bothways as bw
from bothways.indexing.text_index import open_text_index

TEXTS = ["the river bank", "a bank account", "music", "...", "bank bank bank"]


@pytest.fixture
def made(encoder, tmp_path: Path):
    (tmp_path / "t.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    with bw.index(tmp_path / "t.txt", model=encoder, to=tmp_path / "x") as found:
        yield found


def test_it_is_kept_and_gives_the_same_ranks(made, tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO, logger="bothways")
    first = open_text_index(made.store, made.settings)
    made.settings = made.store.settings()
    assert made.settings.finished
    first = open_text_index(made.store, made.settings)
    before = len(caplog.records)
    again = open_text_index(made.store, made.settings)
    assert len(caplog.records) == before  # read, not made
    assert again.names == first.names
    for query in ("bank", "river music", "the", "unknown"):
        assert again.best(query, 10, None) == first.best(query, 10, None)
    rows = {entry.id: entry.row for entry in made.store.texts()}
    assert [rows[name] for name in again.best("bank", 10, None)] == [5, 1, 2]
    assert [rows[name] for name in again.best("bank", 1, None)] == [5]
    allowed = {name for name, row in rows.items() if row < 3}
    assert [rows[name] for name in again.best("bank music", 10, allowed)] == [1, 2]


@pytest.mark.parametrize("damage", ["names.npy", "generation.txt", "words/vocab.index.json", "words/data.csc.index.npy"])
def test_damaged_words_are_made_again(made, tmp_path: Path, damage: str) -> None:
    settings = made.store.settings()
    expected = open_text_index(made.store, settings).best("bank", 10, None)
    (tmp_path / "x" / "bm25" / damage).write_bytes(b"x")
    assert open_text_index(made.store, settings).best("bank", 10, None) == expected
    assert (tmp_path / "x" / "bm25" / damage).read_bytes() != b"x"


def test_an_index_without_a_word(encoder, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("...\n!!!", encoding="utf-8")
    with bw.index(tmp_path / "t.txt", model=encoder, to=tmp_path / "x") as found:
        assert len(found.search("bank", hybrid=True)) == 2
        assert len(found.search("bank", hybrid=True)) == 2
