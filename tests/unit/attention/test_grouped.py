"""Shifted groups, executed: equal to attention under the dense mask of every head, at the cost of
the groups alone.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from bothways.attention import kernel
from bothways.attention.grouped import cut_heads
from bothways.attention.plan import AttentionPlan
from bothways.attention.shifted import ShiftedGroups
from bothways.errors import InputError

WIDTH = 8
HEADS = [(4, 4), (4, 2), (8, 2), (9, 3), (3, 1), (1, 1)]
KINDS = [
    ShiftedGroups(),
    ShiftedGroups(toward="right"),
    ShiftedGroups(wrap="roll"),
    ShiftedGroups(wrap="roll", toward="right"),
    ShiftedGroups(shift="none"),
    ShiftedGroups(shift="all"),
    ShiftedGroups(shift="layers"),
    ShiftedGroups(size=5),
    ShiftedGroups(ratio=0.4, wrap="roll"),
]


def tensors(total, heads, key_heads, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(total, h, WIDTH, generator=generator, dtype=torch.float64).to(dtype) for h in (heads, key_heads, key_heads)
    ]


def reference(q, k, v, plan, window=None, softcap=None, sinks=None, layer=1):
    """Attention in float64 under one dense mask per head, keys repeated as published."""
    heads = q.shape[1]
    shared = heads // k.shape[1]
    q, k, v = (t.double().transpose(0, 1) for t in (q, k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)))
    scores = q @ k.transpose(1, 2) * WIDTH**-0.5
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~plan.dense_heads(heads, layer, window=window), float("-inf"))
    if sinks is not None:
        scores = torch.cat([scores, sinks.double().view(-1, 1, 1).expand(-1, scores.shape[1], 1)], -1)
        return (scores.softmax(-1)[..., :-1] @ v).transpose(0, 1)
    return (scores.softmax(-1) @ v).transpose(0, 1)


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("heads", HEADS, ids=str)
@pytest.mark.parametrize("groups", KINDS, ids=str)
def test_executed_attention_equals_dense_masks_with_gradients(groups, heads, direction):
    """Float64, with and without a backward pass: both CPU paths; texts of 1 to 9 tokens, odd ones,
    and packed.
    """
    for lengths in [*((n,) for n in range(1, 10)), (33,), (12, 12, 5), (7, 20, 1)]:
        plan = AttentionPlan(lengths, direction, groups)
        made = tensors(plan.total, *heads)
        with torch.no_grad():
            torch.testing.assert_close(
                kernel.execute(*made, plan, layer=1), reference(*made, plan), atol=1e-12, rtol=0, msg=str(lengths)
            )
    weight = torch.randn(plan.total, heads[0], WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = []
    for run in (kernel.execute, reference):
        leaves = [t.clone().requires_grad_() for t in made]
        found.append(torch.autograd.grad((run(*leaves, plan, layer=1) * weight).sum(), leaves))
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize("tokens", [0, 100], ids=["fused", "explicit"])
def test_both_paths_have_the_gradients_of_the_dense_form(monkeypatch, tokens):
    """Groups over `EXPLICIT_BACKWARD` tokens train through torch's fused kernel; here every group
    counts as long, or as short.
    """
    monkeypatch.setattr(kernel, "EXPLICIT_BACKWARD", {torch.float64: tokens})
    plan = AttentionPlan((21, 40), "causal", ShiftedGroups())
    made = tensors(plan.total, 9, 3)
    found = []
    for run in (kernel.execute, reference):
        leaves = [t.clone().requires_grad_() for t in made]
        found.append(torch.autograd.grad(run(*leaves, plan).square().sum(), leaves))
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize("extras", [{"softcap": 2.0}, {"sinks": True}, {"softcap": 1.0, "sinks": True}, {"window": 2}])
@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("groups", KINDS[:2], ids=str)
def test_soft_capping_sinks_and_windows(groups, direction, extras):
    plan = AttentionPlan((26, 9), direction, groups)
    q, k, v = tensors(plan.total, 9, 3)
    extras = dict(extras)
    if extras.get("sinks"):
        extras["sinks"] = torch.linspace(-1, 2, 9)
    got = kernel.execute(q, k, v, plan, layer=1, **extras)
    # sinks are float32, whatever the scores are
    torch.testing.assert_close(got, reference(q, k, v, plan, **extras), atol=1e-6 if "sinks" in extras else 1e-12, rtol=0)
    plain = kernel.execute(q, k, v, plan, layer=1)
    assert (got - plain).abs().max() > 0.05, "the extra changes nothing here, so this test would prove nothing"


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("groups", KINDS[:3], ids=str)
def test_bfloat16_errs_no_more_than_plain_attention(groups, direction):
    """At most 1.25 times the error of bfloat16 attention as transformers' eager code writes it,
    under the same masks.
    """
    plan = AttentionPlan((64, 40), direction, groups)
    ours = plain = 0.0
    for seed in range(4):
        q, k, v = tensors(plan.total, 4, 2, torch.bfloat16, seed)
        truth = reference(q, k, v, plan)
        ours = max(ours, float((kernel.execute(q, k, v, plan).double() - truth).norm() / truth.norm()))
        heads = [t.transpose(0, 1) for t in (q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1))]
        scores = (heads[0] @ heads[1].transpose(1, 2) * WIDTH**-0.5).masked_fill(
            ~plan.dense_heads(4), torch.finfo(torch.bfloat16).min
        )
        eager = (scores.softmax(-1, dtype=torch.float32).to(torch.bfloat16) @ heads[2]).transpose(0, 1)
        plain = max(plain, float((eager.double() - truth).norm() / truth.norm()))
    assert 0 < ours <= 1.25 * plain


@pytest.mark.parametrize("toward", ["left", "right"])
def test_later_tokens_reach_earlier_ones_only_through_the_roll_and_only_in_the_first_half_group(toward):
    length, half = 32, 4  # G = 8
    for wrap, leaking in (("none", set()), ("roll", set(range(half)))):
        plan = AttentionPlan((length,), "causal", ShiftedGroups(wrap=wrap, toward=toward))
        q, k, v = tensors(length, 4, 2)
        base = kernel.execute(q, k, v, plan)
        reached = set()
        for changed in range(length):
            moved = [t.clone() for t in (k, v)]
            for t in moved:
                t[changed] += 1.0
            rows = (kernel.execute(q, *moved, plan) - base).abs().amax((1, 2)) > 1e-9
            reached |= {int(row) for row in rows.nonzero().flatten() if row < changed}
        assert reached == leaking, wrap


def test_the_cost_is_that_of_the_groups(monkeypatch):
    """Every score that the fused kernel computes is counted: 0.234 of what full causal attention
    takes.
    """
    counted = []
    original = F.scaled_dot_product_attention

    def counting(q, k, v, **options):
        assert options["is_causal"] and options["attn_mask"] is None
        counted.append(q.shape[0] * q.shape[1] * q.shape[2] * (q.shape[2] + 1) // 2)
        return original(q, k, v, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counting)
    work = {}
    for name, groups in (("full", None), ("s2", ShiftedGroups())):
        plan = AttentionPlan((2048, 2048), "causal", groups)
        counted.clear()
        with torch.no_grad():
            kernel.execute(*tensors(plan.total, 9, 3, torch.float32), plan)
        assert sum(counted) == plan.scores(9)
        work[name] = sum(counted)
    # four plain heads of nine at 0.25, five shifted ones at 0.219
    assert work["s2"] / work["full"] == pytest.approx((4 * 0.25 + 5 * 0.21875) / 9, abs=1e-3)


def test_heads_are_cut_where_kinds_and_key_heads_change():
    assert cut_heads(32, 8, 16) == ((16, 16), (4, 4), (0, 1), (False, True))
    assert cut_heads(9, 3, 4) == ((3, 1, 2, 3), (1, 1, 1), (0, 1, 1, 2), (False, False, True, True))
    assert cut_heads(4, 1, 2) == ((2, 2), (1,), (0, 0), (False, True))
    assert cut_heads(5, 5, 2) == ((2, 3), (2, 3), (0, 1), (False, True))


def test_groups_that_are_alike_are_one_call(monkeypatch):
    plan = AttentionPlan((4, 4), "bidirectional", ShiftedGroups(size=4))
    calls = []
    original = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **kw: calls.append(a[0].shape) or original(*a, **kw))
    with torch.no_grad():
        kernel.execute(*tensors(8, 4, 2), plan)
    assert calls == [torch.Size([2, 4, 4, WIDTH])]


def test_dropout_falls_on_every_share_and_follows_the_seed():
    plan = AttentionPlan((160,) * 4, "bidirectional", ShiftedGroups())
    q = torch.zeros(plan.total, 4, WIDTH)
    v = torch.ones(plan.total, 4, WIDTH)
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        made.append(kernel.execute(q, q, v, plan, dropout=0.3)[..., 0])
    assert torch.equal(*made)
    # 640 · 40 weights and fewer per head: the mean's standard error is sqrt(0.3 / 0.7 / 22,400) =
    # 0.0044 or less
    assert (made[0].mean(0) - 1.0).abs().max() < 0.02
    assert (made[0].var(0) > 0.005).all()


def test_impossible_combinations_are_named():
    q, k, v = tensors(16, 4, 2)
    with pytest.raises(InputError, match=r"'roll' joins both ends.*window of 3 tokens"):
        kernel.execute(q, k, v, AttentionPlan((16,), "causal", ShiftedGroups(wrap="roll")), window=3)
    with pytest.raises(InputError, match="needs each layer's number"):
        kernel.execute(q, k, v, AttentionPlan((16,), "causal", ShiftedGroups(shift="layers")))
    with pytest.raises(InputError, match="this plan has no groups"):
        _ = AttentionPlan((16,)).plain_groups


@pytest.mark.parametrize("groups", KINDS, ids=str)
@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
def test_the_variable_length_path_gets_the_right_arguments(groups, direction, monkeypatch):
    """The CUDA kernel stood in for by a loop over its boundaries, since this path runs on no
    CPU.
    """
    monkeypatch.setattr(kernel, "_can_varlen", lambda *_: True)
    monkeypatch.setattr(kernel, "varlen_attn", varlen_by_loop)
    plan = AttentionPlan((21, 6, 6), direction, groups)
    made = tensors(plan.total, 9, 3)
    with torch.no_grad():
        torch.testing.assert_close(kernel.execute(*made, plan, layer=1), reference(*made, plan), atol=1e-12, rtol=0)


def varlen_by_loop(q, k, v, bounds_q, bounds_k, longest_q, longest_k, *, scale, window_size):
    assert torch.equal(bounds_q, bounds_k) and longest_q == longest_k == int(bounds_q.diff().max())
    out = torch.empty_like(q)
    for start, end in zip(bounds_q[:-1].tolist(), bounds_q[1:].tolist()):
        ahead = torch.arange(end - start)[None] - torch.arange(end - start)[:, None]
        left, right = window_size
        hidden = (ahead > right if right >= 0 else ahead < -(10**9)) | (ahead < -left if left >= 0 else ahead < -(10**9))
        scores = torch.einsum("qhd,khd->hqk", q[start:end], k[start:end]) * scale
        out[start:end] = torch.einsum("hqk,khd->qhd", scores.masked_fill(hidden, float("-inf")).softmax(-1), v[start:end])
    return out
