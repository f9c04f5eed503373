"""The collapse alarm: silent on healthy and on merely anisotropic encoders, loud on collapsed
ones.
"""

from __future__ import annotations

import logging

import numpy as np
import pytest

from bothways.evaluation.measures.geometry import collapse_watch
from bothways.training.stage.collapse import Collapse, CollapseWatch, describe_collapse

rng = np.random.default_rng(0)
CLOUD = rng.normal(size=(64, 32))


def reading(offset: float, rank: int = 32) -> dict[str, float]:
    """A cloud moved away from the origin, or flattened to a few directions."""
    cloud = CLOUD.copy()
    cloud[:, rank:] *= 1e-3
    return collapse_watch(cloud + offset)


def test_readings_are_what_the_test_means_them_to_be() -> None:
    assert reading(0)["mean_cosine"] < 0.1
    assert reading(20)["mean_cosine"] > 0.99
    assert reading(0, rank=2)["effective_rank"] < 4


def test_verdicts() -> None:
    start = reading(0)
    assert describe_collapse(start, start) is None
    assert describe_collapse(reading(1.0), start) is None
    assert "mean cosine" in str(describe_collapse(reading(20), start))
    assert "directions" in str(describe_collapse(reading(0, rank=2), start))
    # an untrained decoder may already stand at 0.99: staying there is no collapse, halving what is
    # left is
    assert describe_collapse(reading(20), reading(20)) is None
    assert "mean cosine" in str(describe_collapse(reading(60), reading(20)))
    assert describe_collapse({}, start) is None
    assert describe_collapse(start, None) is None


@pytest.mark.parametrize(
    ("cosine", "rank", "problem"),
    [
        (0.979, 40.0, None),
        (0.981, 40.0, "mean cosine"),
        (0.1, 10.1, None),  # of 40 at the start
        (0.1, 9.9, "directions"),
    ],
)
def test_limits_of_a_healthy_start(cosine: float, rank: float, problem: str | None) -> None:
    found = describe_collapse({"mean_cosine": cosine, "effective_rank": rank}, {"mean_cosine": 0.2, "effective_rank": 40.0})
    assert found is None if problem is None else problem in str(found)


@pytest.mark.parametrize(("cosine", "collapsed"), [(0.9949, False), (0.9951, True)])
def test_an_untrained_decoder_may_lose_half_of_what_is_left(cosine: float, collapsed: bool) -> None:
    start = {"mean_cosine": 0.99, "effective_rank": 10.0}
    assert (describe_collapse({**start, "mean_cosine": cosine}, start) is not None) == collapsed


class Fixed:
    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    def encode(self, texts, show_progress_bar=None):
        return self.vectors[: len(texts)]


def test_warns_once_and_names_stage_and_step(caplog) -> None:
    watch = CollapseWatch([str(n) for n in range(100)], seed=0, stage="simcse", action="warn")
    assert len(watch.sample) == 64
    start = watch.read(Fixed(CLOUD))
    bad = watch.read(Fixed(CLOUD + 20))
    with caplog.at_level(logging.WARNING, "bothways"):
        assert watch.judge(bad, start, 25)
        assert watch.judge(bad, start, 50)
    assert len(caplog.records) == 1
    assert "collapse in stage simcse at step 25" in caplog.text


def test_stops_when_asked() -> None:
    watch = CollapseWatch(["a", "b"], seed=0, stage="s", action="stop")
    with pytest.raises(Collapse, match=r"lower optim\.lr"):
        watch.judge(reading(20), reading(0), 3)


def test_one_distinct_text_cannot_be_watched() -> None:
    watch = CollapseWatch(["same"] * 9, seed=0, stage="s", action="stop")
    assert watch.read(Fixed(CLOUD)) == {}
    assert watch.judge({}, None, 1) is None


def test_only_the_beginning_of_a_text_is_read() -> None:
    from bothways.training.stage.collapse import CHARACTERS

    book = "one sentence after the other. " * 10_000
    watch = CollapseWatch([book, f"{book}!", "short"], seed=0, stage="x", action="warn")
    assert sorted(map(len, watch.sample)) == [5, CHARACTERS]
