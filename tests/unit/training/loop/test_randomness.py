"""Order and seeds: a function of position alone, every example once per epoch, the same rows for
any split over processes.
"""

from __future__ import annotations

import itertools

import torch

from bothways.training.loop.optim import OptimConfig
from bothways.training.loop.randomness import Order, derive, generator


def global_batch(order: Order, step: int, accumulation: int) -> list[int]:
    return [row for micro in range(accumulation) for process in range(order.world) for row in order.rows(step, micro, process)]


def test_seeds_do_not_collide_where_sums_would() -> None:
    grid = list(itertools.product(range(3), range(3), range(20), range(4), range(2)))
    assert len({derive(*point) for point in grid}) == len(grid)
    assert derive(1, 23) != derive(12, 3)
    assert derive(0, "order") == 1277939974246706383  # resumed runs rely on the value: it may never change
    assert 0 <= derive("x") < 2**63
    assert torch.equal(torch.rand(3, generator=generator(1, 2)), torch.rand(3, generator=generator(1, 2)))


def test_an_epoch_is_a_permutation_and_the_next_one_another() -> None:
    order = Order(50, size=4, accumulation=3, world=1, seed=0, stage=0)
    assert order.steps_per_epoch == 4
    first = [row for step in range(4) for row in global_batch(order, step, 3)]
    second = [row for step in range(4, 8) for row in global_batch(order, step, 3)]
    assert len(set(first)) == 48
    assert set(first) <= set(range(50))
    assert first != second
    assert set(first) != set(second)  # the two left over are not the same for good (seed 0)


def test_an_epoch_has_the_steps_of_llm2vecs_trainer() -> None:
    """A run of MetaLlama3.json over 45,554 rows, 6 x 4 a step, three epochs: 5,694 steps."""
    order = Order(45_554, size=6, accumulation=4, world=1, seed=0, stage=0)
    assert order.steps_per_epoch == 1898
    assert OptimConfig(lr=5e-5, epochs=3.0).stop(order.steps_per_epoch) == 5694
    assert OptimConfig(lr=5e-5, epochs=3.0, stop_after_steps=1000).stop(order.steps_per_epoch) == 1000


def test_any_position_can_be_asked_for_without_history() -> None:
    def make() -> Order:
        return Order(40, size=3, accumulation=2, world=1, seed=7, stage=1)

    walked = make()
    history = [global_batch(walked, step, 2) for step in range(20)]
    for step in (19, 0, 7, 6, 13):
        assert global_batch(make(), step, 2) == history[step]


def test_rows_do_not_depend_on_the_split_over_processes_and_accumulation() -> None:
    splits = [(12, 1, 1), (6, 2, 1), (6, 1, 2), (3, 2, 2), (3, 4, 1), (3, 1, 4)]
    batches = {
        split: [
            global_batch(Order(100, size=split[0], accumulation=split[1], world=split[2], seed=3, stage=0), step, split[1])
            for step in range(10)
        ]
        for split in splits
    }
    assert all(batches[split] == batches[splits[0]] for split in splits)


def test_seed_and_stage_change_the_order() -> None:
    def start(seed: int, stage: int) -> list[int]:
        return Order(1000, size=8, accumulation=1, world=1, seed=seed, stage=stage).rows(0, 0, 0)

    assert len({tuple(start(seed, stage)) for seed in range(3) for stage in range(3)}) == 9
