"""Specifications of local data as mteb's tasks, and figures that are not rounded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bothways.errors import InputError
from bothways.evaluation.mteb.local import LocalTask, _unrounded


@pytest.mark.parametrize(
    ("argument", "options", "message"),
    [
        (None, {}, "task 'mteb-local' needs a path; write mteb-local:KIND:PATH"),
        ("sst:dev.jsonl", {}, "mteb-local:sst:dev.jsonl: did you mean 'sts'"),
        ("sts", {}, "write mteb-local:KIND:PATH with KIND one of sts, retrieval, classification"),
        ("sts:dev.jsonl", {"ignore_identical_ids": True}, "ignore_identical_ids is for retrieval only; leave it out"),
    ],
)
def test_wrong_specifications_are_answered(argument: str | None, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LocalTask.from_argument(argument, **options)


def test_an_instruction_needs_a_style() -> None:
    task: Any = SimpleNamespace(name="sts:x", kind="sts")
    with pytest.raises(InputError, match=r"sts:x: instruction needs prompts=STYLE"):
        LocalTask(task, instruction="Find it")


def test_means_of_measures_keep_every_digit() -> None:
    queries = {
        "a": {"ndcg_cut_10": 1 / 3, "map_cut_100": 0.5, "recall_5": 1.0, "P_1": 0.0, "recip_rank": 0.25},
        "b": {"ndcg_cut_10": 0.0, "map_cut_100": 1 / 7, "recall_5": 0.0, "P_1": 1.0, "recip_rank": 0.5},
    }
    found = _unrounded(None, queries, None, None, "test", "default")
    assert found == {"ndcg_at_10": 1 / 6, "map_at_100": (0.5 + 1 / 7) / 2, "recall_at_5": 0.5, "precision_at_1": 0.5}
