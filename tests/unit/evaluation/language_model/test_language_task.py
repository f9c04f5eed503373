"""Shared parts of tasks that need a language model."""

from __future__ import annotations

import pytest

from bothways.errors import InputError
from bothways.evaluation.language_model.language_task import check_lengths, forbid_argument, text_heatmap


def test_the_heatmap_shows_every_cell_in_its_column():
    lines = text_heatmap([[0, 0.5], [0.25, 1]], ["0%", "100%"], ["512", "131072"], "depth")
    assert [line.split() for line in lines] == [
        ["depth", "512", "131072"],
        ["0%", "0", "▒▒", "50"],
        ["100%", "░░", "25", "██", "100"],
    ]
    # every label and percentage ends where its column ends
    assert [line[:13].rstrip() + "|" for line in lines] == ["depth     512|", "   0%       0|", " 100%  ░░  25|"]
    assert len({len(line) for line in lines}) == 1


def test_lengths_are_sorted_and_distinct():
    assert check_lengths([1024, 1, 512], "passkey") == (1, 512, 1024)
    for wrong in ([], [0, 5], [7, 7]):
        with pytest.raises(InputError, match="task 'passkey': lengths must be different numbers of tokens from 1 up"):
            check_lengths(wrong, "passkey")


def test_a_task_that_makes_its_data_takes_no_argument():
    forbid_argument(None, "topics")
    with pytest.raises(InputError, match=r"task 'topics' does not take an argument \(got 'x'\)"):
        forbid_argument("x", "topics")
