"""Vectors in files: readable by numpy and pyarrow, whole or not at all, never held in memory as a
whole.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import bothways as bw
from bothways.encoder import vector_files as files
from bothways.encoder.chunks import late_chunking
from bothways.encoder.encoder import Encoder
from bothways.encoder.vector_files import write_chunks, write_vectors
from bothways.errors import InputError, OutputError
from tiny import SENTENCES, tiny_llama

TEXTS = [f"{text} {number}" for number in range(5) for text in SENTENCES]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Encoder:
    return bw.convert(tiny_llama(tmp_path_factory.mktemp("base")), dtype="float32", device="cpu")


@pytest.mark.parametrize("window", [7, 1000])
def test_both_formats_hold_what_encode_gives(encoder: Encoder, tmp_path: Path, window: int) -> None:
    options = {"normalize_embeddings": True, "truncate_dim": 8, "window": window, "prompt": "Find: "}
    expected = encoder.encode(TEXTS, normalize_embeddings=True, truncate_dim=8, prompt="Find: ")
    assert write_vectors(encoder, iter(TEXTS), tmp_path / "v.npy", options) == (40, 8)
    assert write_vectors(encoder, iter(TEXTS), tmp_path / "deep" / "er" / "v.parquet", options) == (40, 8)
    array = np.load(tmp_path / "v.npy")
    assert array.dtype == np.float32
    assert np.abs(array - expected).max() < 1e-5
    assert np.load(tmp_path / "v.npy", mmap_mode="r").shape == (40, 8)
    table = pq.read_table(tmp_path / "deep" / "er" / "v.parquet")
    assert table.column("text").to_pylist() == TEXTS
    assert np.abs(np.array(table.column("vector").to_pylist()) - expected).max() < 1e-5


def test_texts_that_were_cut_are_counted(encoder: Encoder, tmp_path: Path, monkeypatch, caplog) -> None:
    limit = len(encoder.tokenize([TEXTS[0]])[0].ids)
    monkeypatch.setattr(encoder.options, "max_length", limit)
    # the first one fits to the token; blanks are no loss
    texts = ["short", TEXTS[0], TEXTS[0] + " and more", TEXTS[0] + "  ", TEXTS[0] * 5]
    line = f"2 of 5 texts were longer than the encoder's {limit} tokens and were cut"
    with caplog.at_level(logging.INFO, "bothways"):
        write_vectors(encoder, iter(texts), tmp_path / "v.npy", {"window": 2})
        assert caplog.messages == [line]
        encoder.encode([("", text) for text in texts])
        assert caplog.messages == [line] * 2
        encoder.encode(texts[:2])
        monkeypatch.setattr(encoder.options, "max_length", None)
        encoder.encode(texts)
        assert caplog.messages == [line] * 2


@pytest.mark.parametrize("rows", [1, 9, 10, 999_999, 10**12])
def test_header_is_that_of_numpy_for_any_number_of_rows(tmp_path: Path, rows: int) -> None:
    size = len(files._header(10**15, 768))
    header = files._header(rows, 768, size)
    assert len(header) == size
    assert size % 64 == 0
    (tmp_path / "v.npy").write_bytes(header)
    with (tmp_path / "v.npy").open("rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        assert (shape, fortran, dtype) == ((rows, 768), False, np.dtype("<f4"))
        assert file.read() == b""


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_a_stopped_job_leaves_what_was_there(encoder: Encoder, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"v{suffix}"
    out.write_bytes(b"from yesterday")

    def stopping(error: BaseException) -> Iterator[Any]:
        yield from TEXTS
        raise error

    for error in (KeyboardInterrupt(), InputError("row 41: no text"), OSError(28, "No space left on device")):
        with pytest.raises((KeyboardInterrupt, InputError, OutputError)):
            write_vectors(encoder, stopping(error), out, {"window": 8})
    with pytest.raises(InputError, match=r"texts\[40\]: must be a string"):
        write_vectors(encoder, iter([*TEXTS, 3]), out, {"window": 8})  # type: ignore[list-item]
    assert out.read_bytes() == b"from yesterday"
    assert os.listdir(tmp_path) == [out.name]


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_no_text_is_an_error_and_no_file(encoder: Encoder, tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InputError, match="there is no text to encode"):
        write_vectors(encoder, iter([]), tmp_path / f"v{suffix}", {})
    assert os.listdir(tmp_path) == []


def test_other_formats_are_refused(encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"v.csv: vectors must go to a file that ends in .npy or .parquet"):
        write_vectors(encoder, iter(TEXTS), tmp_path / "v.csv", {})


def test_passages_of_any_number_of_documents_are_numbered_on(encoder: Encoder, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(late_chunking, "TOGETHER", 128)
    texts = [*TEXTS[:9], "   ", *TEXTS[9:]]
    expected = encoder.encode_chunks(texts, 3)
    assert write_chunks(encoder, iter(texts), tmp_path / "c.parquet", 3, {})[:2] == (41, sum(len(e.spans) for e in expected))
    # written group by group, not held until the end
    assert pq.ParquetFile(tmp_path / "c.parquet").metadata.num_row_groups > 3
    rows = pq.read_table(tmp_path / "c.parquet").to_pylist()
    assert [row["document"] for row in rows] == [number for number, each in enumerate(expected) for _ in each.spans]
    assert np.abs(np.array([row["vector"] for row in rows]) - np.concatenate([e.vectors for e in expected])).max() < 1e-5


def test_passages_without_a_text_or_in_another_format_leave_no_file(encoder: Encoder, tmp_path: Path) -> None:
    for texts in ([], ["  "]):
        with pytest.raises(InputError, match="there is no text to encode"):
            write_chunks(encoder, iter(texts), tmp_path / "c.parquet", "sentences", {})
    with pytest.raises(InputError, match=r"c.npy: vectors of passages must go to a .parquet file"):
        write_chunks(encoder, iter(TEXTS), tmp_path / "c.npy", "sentences", {})
    assert os.listdir(tmp_path) == []
