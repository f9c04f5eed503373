"""Rows are mined together by task and prompt."""

from __future__ import annotations

import numpy as np
import pytest

from bothways.data.labeled.example import Example
from bothways.mining import mine
from unit.mining.material import cosines, scattered


def test_tasks_are_mined_among_their_own_documents() -> None:
    rows = [Example(f"{task}'s q{n}", (f"{task} {n}",), task=task) for task in ("one", "two") for n in range(5)]
    found = mine(rows, method="dense", encoder=scattered, perc=None, negatives=9)
    assert all({text.split()[0] for text in row.negatives} == {row.task} for row in found.examples)
    assert [len(row.negatives) for row in found.examples] == [4] * 10
    shared = mine(rows, [row.positives[0] for row in rows], method="dense", encoder=scattered, perc=None, negatives=9)
    assert [len(row.negatives) for row in shared.examples] == [9] * 10


def test_prompts_come_before_queries_and_documents() -> None:
    asked: list[str] = []

    def encode(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return scattered(texts)

    rows = [Example("q", ("a",), query_prompt="Q: "), Example("r", ("b",), query_prompt="R: ", document_prompt="D: ")]
    found = mine(rows, ["a", "b", "c"], method="dense", encoder=encode, perc=None)
    assert set(asked) == {"Q: q", "R: r", "a", "b", "c", "D: a", "D: b", "D: c"}
    assert found.examples[1].negative_scores == pytest.approx(
        sorted(cosines(scattered, "R: r", ["D: a", "D: c"]), reverse=True), abs=1e-6
    )
    asked.clear()
    mine(rows, ["a", "b"], method="dense", encoder=encode, perc=None, query_prompt="X ", document_prompt="")
    assert set(asked) == {"X q", "X r", "a", "b"}
