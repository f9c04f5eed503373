"""A plan draws who sees whom; a naive double loop over tokens says the same."""

import pytest
import torch

from bothways.attention.plan import AttentionPlan
from bothways.errors import InputError


def naive(lengths, direction, window):
    owner = [(s, i) for s, n in enumerate(lengths) for i in range(n)]
    rows = []
    for s, i in owner:
        row = []
        for t, j in owner:
            seen = s == t
            if direction == "causal":
                seen = seen and j <= i and (window is None or j > i - window)
            elif window is not None:
                seen = seen and abs(i - j) <= window
            row.append(seen)
        rows.append(row)
    return torch.tensor(rows)


@pytest.mark.parametrize("window", [None, 1, 2, 5, 100])
@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("lengths", [(1,), (7,), (3, 3, 3), (5, 1, 1, 6)])
def test_dense_mask_equals_a_naive_loop(lengths, direction, window):
    assert torch.equal(AttentionPlan(lengths, direction).dense(window=window), naive(lengths, direction, window))


def test_windows_mean_what_transformers_means():
    from transformers.masking_utils import (
        sdpa_mask,
        sliding_window_bidirectional_mask_function,
        sliding_window_causal_mask_function,
    )

    theirs = {"causal": sliding_window_causal_mask_function, "bidirectional": sliding_window_bidirectional_mask_function}
    for direction, function in theirs.items():
        drawn = sdpa_mask(1, 9, 9, mask_function=function(3), allow_is_causal_skip=False)
        assert torch.equal(AttentionPlan((9,), direction).dense(window=3), drawn[0, 0])


def test_positions_segments_and_boundaries():
    plan = AttentionPlan((2, 1, 3))
    assert plan.total == 6 and plan.longest == 3
    assert plan.position_ids().tolist() == [0, 1, 0, 0, 1, 2]
    assert plan.segment_ids().tolist() == [0, 0, 1, 2, 2, 2]
    assert plan.cu_seqlens().tolist() == [0, 2, 3, 6] and plan.cu_seqlens().dtype == torch.int32


@pytest.mark.parametrize("lengths", [(4,), (4, 4, 4), (9, 8, 7, 3, 3, 1), (1, 2, 1, 2), (100, 76, 75, 74)])
def test_runs_and_groups_hold_every_segment_once_in_order(lengths):
    plan = AttentionPlan(lengths)
    assert [run.length for run in plan.runs for _ in range(run.repeats)] == list(lengths)
    assert [length for group in plan.groups for length in group.lengths] == list(lengths)
    starts = torch.tensor([0, *lengths]).cumsum(0).tolist()
    assert {run.start for run in plan.runs} <= set(starts) and {group.start for group in plan.groups} <= set(starts)
    assert all(min(group.lengths) >= 0.75 * max(group.lengths) for group in plan.groups)


@pytest.mark.parametrize("lengths", [(), (3, 0), (-1,)])
def test_plans_without_tokens_are_refused(lengths):
    with pytest.raises(InputError, match="at least one token"):
        AttentionPlan(lengths)


def test_unknown_direction_is_refused():
    with pytest.raises(InputError, match="'bidirectional' or 'causal'"):
        AttentionPlan((3,), "sideways")


def test_cached_tensors_made_in_inference_mode_serve_a_later_backward_pass():
    lengths = (13, 17)  # no other test asks for these
    with torch.inference_mode():
        positions = AttentionPlan(lengths).position_ids()
    assert not positions.is_inference()
    assert not AttentionPlan(lengths).segment_ids().is_inference()
