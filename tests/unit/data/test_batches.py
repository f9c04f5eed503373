"""Epochs and batches: no row lost or doubled, weights as passes, one task per homogeneous batch,
any epoch without those before it.
"""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
import torch

from bothways.data.batches import TaskRows, batches_per_epoch, epoch_batches, epoch_rows
from bothways.errors import InputError

SIZES = {"nli": 50, "qa": 23, "sts": 7}


def seeded(*parts: int) -> torch.Generator:
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big"))


def groups(**weights: float) -> list[TaskRows]:
    made, first = [], 0
    for name, size in SIZES.items():
        made.append(TaskRows(range(first, first + size), name, weights.get(name, 1.0)))
        first += size
    return made


def epoch(made: list[TaskRows], number: int, size: int, kind: str, seed: int = 0) -> list[list[int]]:
    rows = epoch_rows(made, number, lambda group, lap: seeded(seed, group, lap))
    return epoch_batches(made, rows, size, kind, seeded(seed, 99, number))


def task_of(row: int) -> str:
    return "nli" if row < 50 else "qa" if row < 73 else "sts"


@pytest.mark.parametrize("kind", ["blended", "homogeneous"])
@pytest.mark.parametrize("size", [1, 4, 7])
def test_an_epoch_holds_each_row_once_but_for_incomplete_batches(kind, size):
    for number in range(3):
        batches = epoch(groups(), number, size, kind)
        assert len(batches) == batches_per_epoch(groups(), size, kind)
        assert {len(batch) for batch in batches} == {size}
        rows = [row for batch in batches for row in batch]
        assert len(set(rows)) == len(rows), "no row twice"
        lost = Counter(task_of(row) for row in set(range(80)) - set(rows))
        if kind == "homogeneous":
            assert lost == Counter({task: count % size for task, count in SIZES.items() if count % size})
        else:
            assert sum(lost.values()) == 80 % size


def test_homogeneous_batches_are_of_one_task_in_mixed_order():
    batches = epoch(groups(), 0, 4, "homogeneous")
    tasks = [{task_of(row) for row in batch} for batch in batches]
    assert all(len(each) == 1 for each in tasks)
    order = [next(iter(each)) for each in tasks]
    assert Counter(order) == {"nli": 12, "qa": 5, "sts": 1}
    assert order != sorted(order)


def test_blended_batches_mix_tasks_in_proportion():
    shares = Counter()
    batches = [batch for number in range(40) for batch in epoch(groups(), number, 8, "blended")]
    for batch in batches:
        shares.update(task_of(row) for row in batch)
    drawn = sum(shares.values())
    for task, count in SIZES.items():
        # 80 rows fill 10 batches of 8 exactly, so the proportion is exact
        assert shares[task] / drawn == count / 80
    mixed = sum(len({task_of(row) for row in batch}) > 1 for batch in batches) / len(batches)
    assert mixed > 0.9  # a batch of 8 from one task alone: 0.625⁸ + … = 0.023


def test_weights_are_passes_and_no_row_comes_again_before_the_others():
    made = groups(nli=0.2, qa=2.5)
    assert [group.per_epoch for group in made] == [10, round(57.5), 7]
    seen: Counter[int] = Counter()
    for number in range(5):
        rows = epoch_rows(made, number, lambda group, lap: seeded(group, lap))
        assert [len(part) for part in rows] == [10, 58, 7]
        assert len(set(rows[0])) == 10
        seen.update(row for part in rows for row in part)
        for group in made:
            counts = [seen[row] for row in group.rows]
            assert max(counts) - min(counts) <= 1, "all rows of a group have come equally often, but for the pass under way"
    assert {seen[row] for row in made[0].rows} == {1}  # five fifths


def test_a_fraction_is_another_one_each_epoch_and_under_each_seed():
    made = groups(nli=0.5)
    parts = {seed: [epoch_rows(made, n, lambda g, lap, s=seed: seeded(s, g, lap))[0] for n in range(3)] for seed in (0, 1)}
    assert set(parts[0][0]) | set(parts[0][1]) == set(range(50))
    assert parts[0][0] != parts[0][2]
    assert parts[0][0] != parts[1][0]


@pytest.mark.parametrize("kind", ["blended", "homogeneous"])
def test_any_epoch_can_be_asked_for_without_those_before_it(kind):
    made = groups(nli=0.3, sts=3.0)
    history = [epoch(made, number, 4, kind) for number in range(6)]
    assert [epoch(made, number, 4, kind) for number in (5, 0, 3)] == [history[number] for number in (5, 0, 3)]
    assert all(len(each) == batches_per_epoch(made, 4, kind) for each in history)
    assert len({str(each) for each in history}) == 6
    assert epoch(made, 0, 4, kind, seed=1) != history[0]


def test_groups_of_one_task_share_homogeneous_batches():
    made = [TaskRows(range(3), "a"), TaskRows(range(3, 5), "b"), TaskRows(range(5, 10), "a", 0.4)]
    assert batches_per_epoch(made, 5, "homogeneous") == 1
    (batch,) = epoch(made, 0, 5, "homogeneous")
    assert set(batch) > {0, 1, 2}
    assert not set(batch) & {3, 4}


def test_a_small_weight_keeps_a_row_and_a_wrong_one_is_refused():
    assert TaskRows(range(3), "a", 0.01).per_epoch == 1
    assert TaskRows((), "a").per_epoch == 0
    with pytest.raises(InputError, match="weight of 'a': 0"):
        TaskRows(range(3), "a", 0.0)
