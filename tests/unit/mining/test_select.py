"""The choice of a row's negatives: the window of ranks, and random sampling."""

from __future__ import annotations

import numpy as np

from bothways.data.labeled.example import Example
from bothways.mining import mine
from bothways.mining.select import shortest
from unit.mining.material import collection, mined, scattered


def test_window_counts_from_one_and_without_answers() -> None:
    corpus = ["p 0.99", *[f"a 0.{number}" for number in range(90, 80, -1)], "q"]
    row = [Example("q", ("p 0.99",))]
    every = [text for text in corpus if text.startswith("a")]
    assert mined(row, corpus, negatives=10, window=(1, 10)) == [tuple(every)]
    assert mined(row, corpus, negatives=3, window=(2, 4)) == [tuple(every[1:4])]
    assert mined(row, corpus, negatives=1, window=(10, 10)) == [(every[9],)]
    assert mined(row, corpus, negatives=1, window=(11, 11)) == [()]


def test_random_sampling_is_seeded_even_and_in_rank_order() -> None:
    examples, corpus = collection()
    run = {"method": "dense", "encoder": scattered, "perc": None, "window": (1, 30), "negatives": 6, "sampling": "random"}
    one, again, other = (mine(examples, corpus, **run, seed=seed) for seed in (1, 1, 2))
    assert one.examples == again.examples
    assert one.examples != other.examples
    assert all(list(row.negative_scores) == sorted(row.negative_scores, reverse=True) for row in one.examples)
    ranked = mine(examples, corpus, **{**run, "sampling": "top", "negatives": 30}).examples
    ranks = [all_.negatives.index(text) for row, all_ in zip(one.examples, ranked) for text in row.negatives]
    assert abs(np.mean(ranks) - 14.5) < 2.3  # 240 draws from 0..29: four standard errors


def test_scores_are_written_as_their_shortest_decimal() -> None:
    for value in (0.76, 0.1, 1 / 3, -2.5, 0.0):
        assert np.float32(shortest(np.float32(value))) == np.float32(value), "the same number is read back"
    assert repr(shortest(np.float32(0.76))) == "0.76"
