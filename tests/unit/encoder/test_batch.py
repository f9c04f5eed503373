"""Packing and cutting into passes: nothing lost, nothing twice, budgets kept."""

from __future__ import annotations

import random

import pytest
import torch

from bothways.attention.shifted import ShiftedGroups
from bothways.encoder.batch import TokenRow, pack, passes
from bothways.errors import InputError


def row(length: int, first: int = 0) -> TokenRow:
    return TokenRow(list(range(first, first + length)), [i > 0 for i in range(length)], [(i, i + 1) for i in range(length)])


def test_pack_lays_rows_one_after_the_other() -> None:
    batch = pack([row(3), row(1, 10), row(2, 20)], direction="causal")
    assert batch.input_ids.tolist() == [0, 1, 2, 10, 20, 21]
    assert batch.input_ids.dtype == torch.int64
    assert batch.pool.tolist() == [False, True, True, False, False, True]
    assert (batch.plan.lengths, batch.plan.direction, batch.rows, batch.tokens) == ((3, 1, 2), "causal", 3, 6)


def test_filler_is_one_segment_that_is_never_pooled() -> None:
    batch = pack([row(3), row(2)], fill_to=8, pad_id=7)
    assert batch.input_ids.tolist()[5:] == [7, 7, 7]
    assert not batch.pool[5:].any()
    assert (batch.plan.lengths, batch.plan.total, batch.rows, batch.tokens) == ((3, 2, 3), 8, 2, 5)
    # every vocabulary has token 0
    assert pack([row(3)], fill_to=5).input_ids.tolist()[3:] == [0, 0]
    for full in (5, 4, None):
        assert pack([row(3), row(2)], fill_to=full).plan.lengths == (3, 2)


def test_to_moves_every_tensor() -> None:
    batch = pack([row(3)]).to("meta")
    assert (batch.input_ids.device.type, batch.pool.device.type, batch.rows) == ("meta", "meta", 1)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("max_rows", [None, 1, 3])
def test_passes_hold_every_text_once_within_the_budget(padded: bool, max_rows: int | None) -> None:
    draw = random.Random(0)
    for _ in range(50):
        lengths = [draw.choice((1, 2, 5, 17, 40)) for _ in range(draw.randrange(40))]
        budget = draw.choice((1, 16, 33, 64, 10_000))
        groups = passes(lengths, budget, max_rows, padded=padded)
        assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
        flat = [lengths[i] for group in groups for i in group]
        assert flat == sorted(flat, reverse=True)
        for group in groups:
            cost = len(group) * max(lengths[i] for i in group) if padded else sum(lengths[i] for i in group)
            assert cost <= budget or len(group) == 1
            assert max_rows is None or len(group) <= max_rows


def test_passes_are_as_few_as_sorting_allows() -> None:
    assert passes([4, 4, 4, 4], 8) == [[0, 1], [2, 3]]
    assert passes([1, 8, 1, 1], 8) == [[1], [0, 2, 3]]
    assert passes([5, 3, 3], 8, padded=True) == [[0], [1, 2]]
    assert passes([], 8) == []


def test_blocks_of_rows_and_groups_become_the_plans() -> None:
    rows = [row(6)._replace(blocks=(2, 1)), row(4)]
    batch = pack(rows, direction="causal", fill_to=12)
    assert (batch.plan.lengths, batch.plan.blocks) == ((6, 4, 2), ((2, 1), (), ()))
    assert batch.plan.block_ids().tolist() == [0, 0, 0, 1, 1, 2, *[0] * 6]
    assert pack([row(3)], fill_to=5).plan.blocks == ()
    assert pack([row(8)], shifted=ShiftedGroups(size=4)).plan.shifted == ShiftedGroups(size=4)
    with pytest.raises(InputError, match=r"blocks\[0\]"):
        pack([row(3)._replace(blocks=(2, 1))])
    with pytest.raises(InputError, match="use one of the two"):
        pack(rows, shifted=ShiftedGroups())
