"""The refresher: negatives of the model of the moment, the same each time, and the same from its
file.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bothways.data.labeled.example import Example
from bothways.errors import InputError
from bothways.mining import MiningOptions, Refresher, mine
from unit.mining.material import collection, scattered

OPTIONS = MiningOptions(method="dense", negatives=3, window=(1, 10))


def made(examples, **changes) -> Refresher:
    return Refresher(examples, **{"every": 5, "options": OPTIONS, **changes})


def later(texts: list[str]) -> np.ndarray:
    """The model some steps on."""
    return scattered([f"later {text}" for text in texts])


def test_due_at_multiples() -> None:
    refresher = made(collection()[0])
    assert [step for step in range(12) if refresher.due(step)] == [5, 10]


def test_negatives_are_those_of_the_model_and_rows_left_empty_keep_theirs() -> None:
    examples, corpus = collection()
    refresher = made(examples, corpus=corpus)
    statistics = refresher(5, scattered)
    fresh = mine(examples, corpus, method="dense", encoder=scattered, negatives=3, window=(1, 10))
    assert statistics.without > 0
    for now, new, old in zip(refresher.examples, fresh.examples, examples):
        assert now == (replace(old, negatives=new.negatives, negative_scores=None) if new.negatives else old)
        assert now.positive_scores == old.positive_scores  # the model's own scores are not a teacher's
    first = list(refresher.examples)
    refresher(10, later)
    assert refresher.examples != first
    assert [row.query for row in refresher.examples] == [row.query for row in examples]


def test_a_refresh_depends_on_step_and_model_alone() -> None:
    examples, corpus = collection()
    random = MiningOptions(method="dense", negatives=3, window=(1, 30), sampling="random", seed=9, perc=None)
    one, two = made(examples, corpus=corpus, options=random), made(examples, corpus=corpus, options=random)
    one(5, scattered)
    one(10, later)
    two(10, later)
    assert one.examples == two.examples
    two(15, later)
    assert one.examples != two.examples  # drawn anew


def test_the_corpus_of_the_rows_does_not_shrink() -> None:
    """Without a corpus of its own a refresh looks among the texts that training began with, also
    those that no row holds now.
    """
    rows = [Example(f"q{n}", (f"p{n}",), (f"n{n}",)) for n in range(9)]
    options = MiningOptions(method="dense", negatives=1, window=(1, 10), perc=None)
    one, two = made(rows, options=options), made(rows, options=options)
    one(5, scattered)
    assert {text for row in one.examples for text in row.negatives} < {
        text for row in rows for text in (*row.positives, *row.negatives)
    }
    one(10, later)
    two(10, later)
    assert one.examples == two.examples


def test_its_file_brings_the_same_rows(tmp_path: Path) -> None:
    examples, corpus = collection()
    one, two = made(examples, corpus=corpus), made(examples, corpus=corpus)
    one(5, scattered)
    one.write(tmp_path / "examples.jsonl")
    two.read(tmp_path / "examples.jsonl")
    assert two.examples == one.examples
    other = made(examples[:-1])
    with pytest.raises(InputError, match="its rows differ from the training data"):
        other.read(tmp_path / "examples.jsonl")


def test_a_row_without_a_prompt_takes_the_encoders_as_in_training() -> None:
    asked = []

    class Stored:
        def encode(self, texts, prompt=None):
            asked.append(prompt)
            return scattered(texts)

    Refresher([Example("q", ("p",), ("n",)), Example("r", ("s",), query_prompt="R: ")], every=1, options=OPTIONS)(1, Stored())
    assert set(asked) == {None, "R: "}  # None: whatever the encoder holds


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"every": 0}, "every: must be at least 1 step"),
        ({"options": MiningOptions()}, "'bm25' finds the same negatives at every step"),
        ({"examples": [Example("\ud800", ("p",))]}, r"examples\[0\]: a lone surrogate"),
    ],
)
def test_bad_plans(changes, message) -> None:
    with pytest.raises(InputError, match=message):
        made(**{"examples": [Example("q", ("p",))], **changes})
