"""Vectors on disk: files that are computed at the same time are those computed one by one."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from bothways.errors import InputError
from bothways.search.vector_shards import encode_shards


def vectors(first: int, end: int) -> np.ndarray:
    return np.arange(first * 3, end * 3, dtype=np.float32).reshape(-1, 3)


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_files_and_order_do_not_depend_on_how_many_run_at_once(tmp_path: Path, at_once: int) -> None:
    advanced: list[int] = []

    def uneven(first: int, end: int) -> np.ndarray:
        time.sleep(0.02 if first % 20 == 0 else 0)
        return vectors(first, end)

    found = encode_shards(tmp_path, 57, uneven, chunk=10, advance=advanced.append, at_once=at_once)
    np.testing.assert_array_equal(found.rows(range(57)), vectors(0, 57))
    assert advanced == [10] * 5 + [7]
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".npy") == [f"{n:06d}.npy" for n in range(6)]


def test_as_many_run_at_once_as_were_asked_for(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=20)  # breaks if only one call runs

    def together(first: int, end: int) -> np.ndarray:
        both.wait()
        return vectors(first, end)

    encode_shards(tmp_path, 40, together, chunk=10, at_once=2)


def test_an_error_stops_and_what_is_finished_stays(tmp_path: Path) -> None:
    calls: list[int] = []

    def failing(first: int, end: int) -> np.ndarray:
        calls.append(first)
        if first == 20:
            raise InputError("no vector")
        return vectors(first, end)

    with pytest.raises(InputError, match="no vector"):
        encode_shards(tmp_path, 1000, failing, chunk=10, at_once=2)
    assert len(calls) < 20
    assert (tmp_path / "000000.npy").is_file() and (tmp_path / "000001.npy").is_file()
    calls.clear()
    found = encode_shards(tmp_path, 40, vectors, chunk=10, at_once=2)
    np.testing.assert_array_equal(found.rows(range(40)), vectors(0, 40))
