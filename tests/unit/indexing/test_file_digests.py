"""Flipped bytes anywhere in an index: an error in one line, or the results of the whole index."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import bothways as bw
from bothways.errors import InputError
from bothways.indexing.file_digests import FileDigests
from bothways.indexing.index_rows import Hit
from unit.indexing.contract import write_source

FLIPS = 40


def answers(place: Path, encoder) -> list[list[Hit]]:
    with bw.open_index(place, model=encoder) as opened:
        return [
            opened.search("A cat sits", top=60),
            opened.search("two plus two", top=5, where="row > 3"),
            opened.search("water in the river", top=5, hybrid=True),
        ]


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith((".lock", "-shm")))


def flips(folder: Path) -> Iterator[tuple[Path, int, bool]]:
    """Yield places in all files, and whether one belongs to the words, which can be made again."""
    rng = np.random.default_rng(0)
    found = files(folder)
    words = [file for file in found if "bm25" in str(file.relative_to(folder))]
    for file in found:
        count = 1 if file in words else FLIPS // (len(found) - len(words)) + 1
        for place in rng.integers(file.stat().st_size, size=count).tolist():
            yield file, place, file in words


@pytest.mark.parametrize("name", ["x.index", "x.faiss"])
def test_a_flipped_byte_is_an_error_and_never_another_result(encoder, tmp_path: Path, name: str) -> None:
    if name.endswith(".faiss"):
        pytest.importorskip("faiss", reason="faiss is not installed (pip install 'bothways[mine]')")
    write_source(tmp_path / "notes")
    made = tmp_path / "made"
    made.mkdir()
    bw.index(tmp_path / "notes", model=encoder, to=made / name).close()
    expected = answers(made / name, encoder)  # it also writes the words
    refused = 0
    for number, (file, place, is_words) in enumerate(flips(made)):
        copy = tmp_path / "copy"
        shutil.copytree(made, copy)
        damaged = copy / file.relative_to(made)
        raw = bytearray(damaged.read_bytes())
        raw[place] ^= 1 << (number % 8)
        damaged.write_bytes(raw)
        try:
            assert answers(copy / name, encoder) == expected, (file.name, place)
        except InputError as error:
            assert name in str(error) and "\n" not in str(error) and not is_words
            refused += 1
        shutil.rmtree(copy)
    assert refused >= FLIPS // 2


@pytest.mark.parametrize(("name", "file"), [("x.index", "x.index/rows.lance/data"), ("x.faiss", "x.faiss.rows")])
def test_a_damaged_index_is_not_brought_up_to_date(encoder, tmp_path: Path, name: str, file: str) -> None:
    """A text that was damaged would be copied into new files, with a good checksum."""
    if name.endswith(".faiss"):
        pytest.importorskip("faiss", reason="faiss is not installed (pip install 'bothways[mine]')")
    rows = write_source(tmp_path / "notes")
    bw.index(tmp_path / "notes", model=encoder, to=tmp_path / name).close()
    (damaged,) = (tmp_path / file).iterdir() if (tmp_path / file).is_dir() else [tmp_path / file]
    raw = damaged.read_bytes()
    damaged.write_bytes(raw.replace(b"_sure", b"_Sure", 1))
    assert damaged.read_bytes() != raw and rows
    for _ in range(2):  # the first refusal changes nothing
        with pytest.raises(InputError, match=r"have changed since .* remove .* and index again"):
            bw.index(tmp_path / "notes", model=encoder, to=tmp_path / name)
    damaged.write_bytes(raw)
    again = bw.index(tmp_path / "notes", model=encoder, to=tmp_path / name)
    assert again.changes.encoded == 0 and again.settings.finished
    again.close()


def test_known_digests_stay_and_gone_files_are_left_out(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    digests = FileDigests(tmp_path, "digests.json", "")
    digests.check()  # no record yet
    digests.record([tmp_path / "a", tmp_path / "b"])
    (tmp_path / "a").write_text("A")
    digests.record([tmp_path / "a"])  # the changed file is not taken as good
    with pytest.raises(ValueError, match="the bytes of a have changed"):
        FileDigests(tmp_path, "digests.json", "").check()
    (tmp_path / "a").unlink()
    FileDigests(tmp_path, "digests.json", "").check()
