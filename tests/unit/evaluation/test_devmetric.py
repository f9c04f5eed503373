"""The development metric: the task's main score, with data that is read once."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bothways.errors import InputError
from bothways.evaluation.devmetric import dev_metric
from bothways.evaluation.evaluate import evaluate
from bothways.evaluation.tasks.sts import STS

PAIRS = [
    ("a cat sat", "a cat sat down", 4.6),
    ("a cat sat", "the stock fell", 0.2),
    ("the dog ran", "a dog ran off", 4.2),
    ("the dog ran", "prices of stock rose", 0.5),
    ("a bird sang", "a bird was heard", 3.1),
]


class Letters:
    """Counts letters: similar strings get similar vectors."""

    direction = "bidirectional"
    name = "letters"

    def encode(self, texts):
        return np.array([[text.count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for text in texts], dtype=np.float32)


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "dev.jsonl"
    path.write_text("".join(json.dumps({"sentence1": a, "sentence2": b, "score": s}) + "\n" for a, b, s in PAIRS))
    return path


def test_dev_metric_reads_once_and_returns_the_main_score(pairs):
    metric = dev_metric(f"sts:{pairs}")
    expected = evaluate(Letters(), STS(pairs)).main[f"sts:{pairs}"]
    pairs.unlink()
    assert metric(Letters()) == metric(Letters()) == expected
    assert metric.name == f"sts:{pairs}/spearman"


def test_dev_metric_refuses_what_cannot_rank(pairs):
    with pytest.raises(InputError, match="uniformity describes an encoder"):
        dev_metric(f"geometry:{pairs}")
