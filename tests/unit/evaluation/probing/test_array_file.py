"""An array that is killed half-way goes on where it was, is computed once, and says when there is
no place for it.
"""

from __future__ import annotations

import numpy as np
import pytest

from bothways.errors import InputError, OutputError
from bothways.evaluation.probing.array_file import array_file

WHOLE = np.arange(60, dtype=np.float32).reshape(20, 3)


class Work:
    """Blocks of four rows; breaks off before row `until`."""

    def __init__(self, until=20):
        self.until = until
        self.started = []

    def __call__(self, done):
        self.started.append(done)
        for start in range(done, 20, 4):
            if start >= self.until:
                raise KeyboardInterrupt
            yield WHOLE[start : min(start + 4, 20)]


def make(path, work, unit=lambda rows: rows):
    return array_file(path, 20, 3, np.float32, work, unit=unit)


def test_computed_once_and_read_through_a_map(tmp_path):
    work = Work()
    first, again = make(tmp_path / "a" / "x.f32", work), make(tmp_path / "a" / "x.f32", work)
    assert work.started == [0]
    np.testing.assert_array_equal(first, WHOLE)
    np.testing.assert_array_equal(again, WHOLE)
    assert isinstance(first, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 1


def test_goes_on_where_it_was_killed(tmp_path):
    path = tmp_path / "x.f32"
    with pytest.raises(KeyboardInterrupt):
        make(path, Work(until=8))
    assert not path.exists()
    work = Work()
    np.testing.assert_array_equal(make(path, work), WHOLE)
    assert work.started == [8]
    assert not path.with_name("x.f32.part").exists()


def test_half_a_row_is_written_again(tmp_path):
    path = tmp_path / "x.f32"
    # five rows and a torn one; the work can go on at multiples of four
    path.with_name("x.f32.part").write_bytes(WHOLE.tobytes()[: 5 * 12 + 7])
    work = Work()
    np.testing.assert_array_equal(make(path, work, unit=lambda rows: rows // 4 * 4), WHOLE)
    assert work.started == [4]


def test_a_file_of_another_size_is_made_again(tmp_path):
    path = tmp_path / "x.f32"
    path.write_bytes(b"1234")
    np.testing.assert_array_equal(make(path, Work()), WHOLE)


def test_no_place_and_wrong_blocks(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"x\.f32: cannot be written .*; free some space there, or keep the states in memory"):
        make(tmp_path / "file" / "x.f32", Work())
    with pytest.raises(RuntimeError, match="4 rows were computed instead of 20"):
        make(tmp_path / "y.f32", lambda done: iter([WHOLE[:4]]))
    with pytest.raises(RuntimeError, match=r"shape \(4, 2\)"):
        make(tmp_path / "z.f32", lambda done: iter([WHOLE[:4, :2]]))

    def refused(done):
        raise InputError("not finite")
        yield

    with pytest.raises(InputError, match="not finite"):  # errors of the work itself come through as they are
        make(tmp_path / "w.f32", refused)
