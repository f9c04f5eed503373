"""The sample of mined rows: drawn by the seed, with all documents of a row and the reasons."""

from __future__ import annotations

from bothways.data.labeled.example import Example
from bothways.mining.sample import Seen, make_sample, sampled_rows
from bothways.mining.select import Choice


class Texts:
    """A corpus of four texts."""

    texts = ("zero", "one", "two", "three")


def test_rows_are_drawn_by_the_seed_without_repeats() -> None:
    assert sampled_rows(5, 9, 0) == [0, 1, 2, 3, 4]
    drawn = sampled_rows(1000, 50, 0)
    assert drawn == sorted(set(drawn)) and len(drawn) == 50
    assert drawn == sampled_rows(1000, 50, 0) != sampled_rows(1000, 50, 1)
    assert 350 < sum(drawn) / 50 < 650, "the whole file is drawn from; the standard error is 41"


def test_a_sample_holds_the_row_as_mining_saw_it() -> None:
    left_out = [(2, 3, 0.25, "near"), (0, 0, 0.5, "answer"), (3, 1, 0.25, "near")]
    choice = Choice([2], [0.125], [4], [0.75], left_out, 0)
    sample = make_sample(7, Example("q", ("zero",), task="t"), choice, Texts())  # type: ignore[arg-type]
    assert (sample.row, sample.query, sample.task) == (7, "q", "t")
    assert sample.positives == (Seen("zero", 0.75),)
    assert sample.negatives == (Seen("two", 0.125, 4),)
    best_first_then_by_place = (Seen("zero", 0.5, 0, "answer"), Seen("one", 0.25, 3, "near"), Seen("three", 0.25, 2, "near"))
    assert sample.filtered == best_first_then_by_place
