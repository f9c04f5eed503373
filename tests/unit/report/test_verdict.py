"""The first sentence of a report, word by word, against cases that were computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bothways.evaluation.item_scores import value_items
from bothways.evaluation.results import Record, Results
from bothways.report.comparison import Comparison, Measure
from bothways.report.material import ReportedModel
from bothways.report.page import build, summary
from bothways.report.result_columns import Better
from bothways.report.verdict import ONE_SEED, caveat, verdict
from unit.report.material import digest


def measure(before: float, after: float, spread: float | None, better: Better = "higher", scale: float = 100.0) -> Measure:
    """A task on which 101 replicates of the difference lie evenly within `spread` of its value."""
    around = None if spread is None else np.linspace(-spread, spread, 101)
    samples = {} if around is None else {"plain": np.full(101, before), "mine": after + around}
    scores = {"plain": before, "mine": after}
    return Measure("news", "retrieval · ndcg@10", "", better, scale, scores, samples, 0 if spread is None else 50)


def comparison(*tasks: Measure, labels: tuple[str, ...] = ("plain", "mine"), average: Measure | None = None) -> Comparison:
    models = [ReportedModel(label) for label in labels]
    columns: list[Any] = [type("Kind", (), {"kind": "retrieval"})() for _ in tasks]
    return Comparison(models, "plain", columns, list(tasks), [] if average is None else [average], "", 101, 0)


# The percentiles 2.5 and 97.5 of 101 numbers that lie evenly in [v - s, v + s] are v ∓ 0.95 s.
CASES = {
    "better": (
        measure(0.5, 0.54, 0.02),
        "mine improves on the baseline plain by 4.0 points (news, retrieval · ndcg@10: 54.0 instead of 50.0), which is more than "
        "chance: the 95 % interval of the difference is +2.1 to +5.9.",
    ),
    "worse": (
        measure(0.5, 0.46, 0.02),
        "mine falls behind the baseline plain by 4.0 points (news, retrieval · ndcg@10: 46.0 instead of 50.0), which is more than "
        "chance: the 95 % interval of the difference is −5.9 to −2.1.",
    ),
    "better within noise": (
        measure(0.5, 0.51, 0.02),
        "mine is better than the baseline plain by 1.0 points (news, retrieval · ndcg@10: 51.0 instead of 50.0), which may be "
        "chance: the 95 % interval of the difference is −0.9 to +2.9.",
    ),
    "worse within noise": (
        measure(0.5, 0.49, 0.02),
        "mine is worse than the baseline plain by 1.0 points (news, retrieval · ndcg@10: 49.0 instead of 50.0), which may be "
        "chance: the 95 % interval of the difference is −2.9 to +0.9.",
    ),
    "level": (
        measure(0.5, 0.5, 0.02),
        "mine and the baseline plain are level (news, retrieval · ndcg@10: 50.0 instead of 50.0): the 95 % interval of the "
        "difference is −1.9 to +1.9.",
    ),
    "no scores by item": (
        measure(0.5, 0.54, None),
        "mine improves on the baseline plain by 4.0 points (news, retrieval · ndcg@10: 54.0 instead of 50.0). Whether that is more "
        "than chance is not known, because the results hold no scores by item.",
    ),
    "lower is better": (
        measure(12.0, 10.0, 1.0, "lower", 1.0),
        "mine improves on the baseline plain by 2.00 (news, retrieval · ndcg@10: 10.00 instead of 12.00), which is more than chance: "
        "the 95 % interval of the difference is −2.95 to −1.05.",
    ),
}


@pytest.mark.parametrize(("task", "sentence"), CASES.values(), ids=CASES)
def test_two_models(task: Measure, sentence: str) -> None:
    found = comparison(task)
    assert verdict(found) == sentence
    assert caveat(found) == (ONE_SEED if task.samples else "")


def test_no_baseline() -> None:
    alone = Measure("news", "retrieval · ndcg@10", "", "higher", 100.0, {"mine": 0.5}, {"mine": np.linspace(0.4, 0.6, 101)}, 9)
    found = Comparison([ReportedModel("mine")], "mine", comparison(alone).columns, [alone], [], "", 101, 0)
    assert verdict(found) == (
        "mine: news, retrieval · ndcg@10 50.0 (95 % interval 40.5 to 59.5). There is no baseline to compare it with."
    )
    assert caveat(found) == ""
    assert verdict(comparison(alone)) == (
        "mine: news, retrieval · ndcg@10 50.0 (95 % interval 40.5 to 59.5). The baseline plain was not measured on the same data."
    )


def test_an_average_says_over_how_many_tasks() -> None:
    task = measure(0.5, 0.54, 0.02)
    average = Measure("average", "2 tasks", "", "higher", 100.0, task.scores, task.samples, 9, ("a", "b"))
    assert "by 4.0 points (average of 2 tasks: 54.0 instead of 50.0)" in verdict(comparison(task, task, average=average))


def test_without_an_average_tasks_are_counted() -> None:
    up, maybe, down = measure(0.5, 0.54, 0.02), measure(0.5, 0.51, 0.02), measure(12.0, 13.0, 0.1, "lower", 1.0)
    assert verdict(comparison(up, maybe, down)) == (
        "mine is better than the baseline plain in 2 of 3 tasks, in 1 of them by more than chance (95 % intervals of the difference)."
    )


def test_names_are_written_as_asked() -> None:
    said = verdict(comparison(CASES["better"][0]), name=lambda label: f"<{label}>", text=str.upper)
    assert said.startswith("<mine> improves on the baseline <plain> by 4.0 points (NEWS, RETRIEVAL · NDCG@10: 54.0")


def saved(place: Path, name: str, values: list[float]) -> str:
    items = value_items(np.array(values), lambda i: {"query": f"query {i}", "relevant": "r", "found": "f"})
    record = Record("retrieval", "ndcg@10", {"ndcg@10": float(np.mean(values))}, items, digest("news"), 1.0)
    Results({"retrieval:news": record}, {"model": {"name": name}}).save(place / f"{name}.json")
    return f"{name}={place / name}.json"


@pytest.mark.parametrize(
    ("new", "words"),
    [
        # two queries of four become right. All four drawn from the other two: (1/2)^4 = 6 %, so 0 is inside the interval
        ([1, 1, 1, 1], "mine is better than the baseline plain by 50.0 points"),
        # each query gains a quarter, so each draw does
        ([0.25, 0.25, 0.75, 0.75], "mine is worse than the baseline plain"),
    ],
)
def test_from_files(tmp_path: Path, new: list[float], words: str) -> None:
    sources = [saved(tmp_path, "plain", [0, 0, 1, 1]), saved(tmp_path, "mine", new)]
    sentence = summary(sources)
    if new[0] == 1:
        assert (
            sentence.startswith(words)
            and "which may be chance: the 95 % interval of the difference is 0.0 to +100.0." in sentence
        )
    else:
        assert sentence.startswith("mine and the baseline plain are level")
    page = build(sources)
    assert (
        page.split('<p class="verdict">')[1].split("</p>")[0].replace("<bdi>", "").replace("</bdi>", "").replace("&nbsp;", " ")
        == sentence
    )


def test_a_gain_of_every_query_is_more_than_chance(tmp_path: Path) -> None:
    sources = [saved(tmp_path, "plain", [0, 0.25, 0.5, 0.75]), saved(tmp_path, "mine", [0.25, 0.5, 0.75, 1])]
    assert summary(sources) == (
        "mine improves on the baseline plain by 25.0 points (news, retrieval · ndcg@10: 62.5 instead of 37.5), which is more than "
        "chance: the 95 % interval of the difference is +25.0 to +25.0."
    )
