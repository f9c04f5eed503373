"""Hidden blocks as data and executed: LLaRA's mask drawn by hand, and attention equal to it."""

from __future__ import annotations

import pytest
import torch

from bothways.attention import kernel
from bothways.attention.plan import AttentionPlan
from bothways.attention.shifted import ShiftedGroups
from bothways.errors import InputError

WIDTH = 8
ROWS = [
    ((9,), ((3, 2),)),
    ((9, 7, 12), ((3, 2), (2, 2), (4, 1))),
    ((6, 8, 5), ((), (3, 4), (4,))),
    ((30, 10, 10), ((4, 4), (4, 4), (4, 4))),
    ((12, 4), ((2, 3, 4), (1, 1, 1))),
    ((5, 5), ((), ())),
]


def naive(lengths, sizes, direction, window=None):
    """Token by token: (segment, block, position) of both decide."""
    owners = []
    for segment, (length, blocks_of) in enumerate(zip(lengths, sizes)):
        text = length - sum(blocks_of)
        owners += [(segment, 0, at) for at in range(text)]
        for number, size in enumerate(blocks_of, 1):
            owners += [(segment, number, text + at) for at in range(size)]
    mask = torch.zeros(len(owners), len(owners), dtype=torch.bool)
    for q, (segment, block, at) in enumerate(owners):
        for k, (other_segment, other_block, other) in enumerate(owners):
            seen = segment == other_segment and other_block in (0, block)
            if direction == "causal":
                seen = seen and other <= at and (window is None or other > at - window)
            elif window is not None:
                seen = seen and abs(other - at) <= window
            mask[q, k] = seen
    return mask, torch.tensor([at for _, _, at in owners]), torch.tensor([block for _, block, _ in owners])


def tensors(total, heads, key_heads, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(total, h, WIDTH, generator=generator, dtype=torch.float64).to(dtype) for h in (heads, key_heads, key_heads)
    ]


def reference(q, k, v, mask, softcap=None, sinks=None):
    shared = q.shape[1] // k.shape[1]
    q, k, v = (t.double().transpose(0, 1) for t in (q, k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)))
    scores = q @ k.transpose(1, 2) * WIDTH**-0.5
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~mask, float("-inf"))
    if sinks is not None:
        scores = torch.cat([scores, sinks.double().view(-1, 1, 1).expand(-1, scores.shape[1], 1)], -1)
        return (scores.softmax(-1)[..., :-1] @ v).transpose(0, 1)
    return (scores.softmax(-1) @ v).transpose(0, 1)


@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("lengths, sizes", ROWS)
def test_mask_positions_and_blocks_equal_a_naive_loop(lengths, sizes, direction, window):
    plan = AttentionPlan(lengths, direction, blocks=sizes)
    mask, positions, ids = naive(lengths, sizes, direction, window)
    assert torch.equal(plan.dense(window=window), mask)
    assert torch.equal(plan.position_ids(), positions) and torch.equal(plan.block_ids(), ids)
    if window is None:
        assert plan.scores(3) == 3 * int(mask.sum())


def test_the_mask_is_the_one_that_the_authors_draw():
    """Causal, then rows [L - 18, L) lose columns [L - 37, L - 18); positions of the last 18 restart
    where the 19 began.
    """
    length = 60
    plan = AttentionPlan((length,), "causal", blocks=((19, 18),))
    drawn = torch.ones(length, length).tril().bool()
    drawn[length - 18 :, length - 37 : length - 18] = False
    assert torch.equal(plan.dense(), drawn)
    assert plan.position_ids().tolist() == [*range(length - 18), *range(length - 37, length - 19)]


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (9, 3)], ids=str)
@pytest.mark.parametrize("window", [None, 1, 4])
@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("lengths, sizes", ROWS)
def test_executed_attention_equals_the_dense_mask_with_gradients(lengths, sizes, direction, window, heads):
    plan = AttentionPlan(lengths, direction, blocks=sizes)
    mask = naive(lengths, sizes, direction, window)[0]
    made = tensors(plan.total, *heads)
    with torch.no_grad():
        torch.testing.assert_close(kernel.execute(*made, plan, window=window), reference(*made, mask), atol=1e-12, rtol=0)
    found = []
    for run in (lambda *t: kernel.execute(*t, plan, window=window), lambda *t: reference(*t, mask)):
        leaves = [t.clone().requires_grad_() for t in made]
        found.append(torch.autograd.grad(run(*leaves).square().sum(), leaves))
    for one, other in zip(*found):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other, atol=1e-11, rtol=0)


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("extras", [{"softcap": 2.0}, {"sinks": True}])
def test_soft_capping_and_sinks(extras, direction):
    lengths, sizes = ROWS[1]
    plan = AttentionPlan(lengths, direction, blocks=sizes)
    extras = {"sinks": torch.linspace(-1, 2, 4)} if extras.get("sinks") else dict(extras)
    made = tensors(plan.total, 4, 2)
    # sinks are float32, whatever the scores are
    torch.testing.assert_close(
        kernel.execute(*made, plan, **extras), reference(*made, plan.dense(), **extras), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
def test_bfloat16_errs_no_more_than_plain_attention(direction):
    plan = AttentionPlan((64, 40, 61), direction, blocks=((8, 7), (8, 7), (8, 7)))
    ours = plain = 0.0
    for seed in range(4):
        q, k, v = tensors(plan.total, 4, 2, torch.bfloat16, seed)
        truth = reference(q, k, v, plan.dense())
        ours = max(ours, float((kernel.execute(q, k, v, plan).double() - truth).norm() / truth.norm()))
        heads = [t.transpose(0, 1) for t in (q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1))]
        scores = (heads[0] @ heads[1].transpose(1, 2) * WIDTH**-0.5).masked_fill(~plan.dense(), torch.finfo(torch.bfloat16).min)
        eager = (scores.softmax(-1, dtype=torch.float32).to(torch.bfloat16) @ heads[2]).transpose(0, 1)
        plain = max(plain, float((eager.double() - truth).norm() / truth.norm()))
    assert 0 < ours <= 1.25 * plain


def test_dropout_falls_on_text_and_blocks_and_follows_the_seed():
    plan = AttentionPlan((60,) * 30, "bidirectional", blocks=((10, 10),) * 30)
    q, v = torch.zeros(plan.total, 2, WIDTH), torch.ones(plan.total, 2, WIDTH)
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        made.append(kernel.execute(q, q, v, plan, dropout=0.3)[..., 0])
    assert torch.equal(*made)
    for block in range(3):
        of = made[0][plan.block_ids() == block]
        # 300 · 2 rows or more of 40 weights or more each: the mean's standard error is at most
        # 0.0043
        assert abs(float(of.mean()) - 1.0) < 0.02 and float(of.var()) > 0.005


@pytest.mark.parametrize(
    "sizes, message",
    [
        (((1, 1),), r"2 segments need as many entries, \(\) for none \(got 1\)"),
        (((), (2, 0)), r"blocks\[1\]: blocks need at least one token"),
        (((3, 3), ()), r"blocks\[0\].*one of text before them \(got \(3, 3\) in a segment of 6\)"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(sizes, message):
    with pytest.raises(InputError, match=message):
        AttentionPlan((6, 5), blocks=sizes)


def test_groups_and_blocks_exclude_each_other():
    with pytest.raises(InputError, match="shifted groups would cut hidden blocks off their text"):
        AttentionPlan((6,), "causal", ShiftedGroups(), ((1, 1),))


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
def test_cached_tensors_made_in_inference_mode_serve_a_later_backward_pass(direction):
    plan = AttentionPlan((23, 19), direction, blocks=((3, 2), (2, 2)))  # no other test asks for these
    made = tensors(42, 4, 2)
    with torch.inference_mode():
        kernel.execute(*made, plan)
    leaves = [t.clone().requires_grad_() for t in made]
    kernel.execute(*leaves, plan).sum().backward()
    assert not plan.position_ids().is_inference() and not plan.block_ids().is_inference()
