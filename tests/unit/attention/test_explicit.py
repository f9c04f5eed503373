"""Attention in plain PyTorch: scores of long texts within a budget, and the same dropout in both passes."""

import pytest
import torch

from bothways.attention import explicit as written
from bothways.attention import kernel, reach
from bothways.attention.plan import AttentionPlan
from unit.attention.float64_attention import brute_force, tensors


def small_blocks(monkeypatch, elements=4000):
    monkeypatch.setattr(reach, "QUERIES", 32)
    monkeypatch.setattr(reach, "FEWEST", 2)
    monkeypatch.setattr(reach, "ELEMENTS", elements)


@pytest.mark.parametrize("extras", [{"softcap": 2.0}, {"sinks": torch.zeros(4)}])
def test_scores_of_long_texts_stay_within_the_budget(monkeypatch, extras):
    small_blocks(monkeypatch)
    sizes, kept = [], []
    plain = written.attend_rectangle
    monkeypatch.setattr(
        written, "attend_rectangle", lambda q, k, *a: sizes.append(q.shape[:3].numel() * k.shape[1]) or plain(q, k, *a)
    )
    plan = AttentionPlan((200, 180))
    made = [t.requires_grad_() for t in tensors(4, 2, lengths=plan.lengths)]
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        out = kernel.execute(*made, plan, **extras)
    forward = len(sizes)
    out.sum().backward()
    assert max(sizes) <= 4000
    # a backward pass makes the scores anew: what is kept for it are the inputs and the result
    assert len(sizes) == 2 * forward
    assert max(kept) <= made[0].numel() * 2
    truth = brute_force(*(t.detach() for t in made), plan, **extras)
    torch.testing.assert_close(out.detach().double(), truth, atol=3e-6, rtol=0)


def test_dropout_of_a_block_is_the_same_in_the_backward_pass(monkeypatch):
    """The result is linear in the values, so its derivative along them is itself, if the weights
    are those that were dropped.
    """
    small_blocks(monkeypatch)
    plan = AttentionPlan((70,))
    q, k, v = (t.requires_grad_() for t in tensors(4, 2, torch.float64, plan.lengths))
    out = kernel.execute(q, k, v, plan, dropout=0.5)
    weight = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(7)  # what else draws in between
    (out * weight).sum().backward()
    torch.testing.assert_close((v.grad * v).sum(), (out * weight).sum(), atol=1e-9, rtol=0)


def test_blocks_of_long_texts_do_not_push_out_the_masks_of_short_ones(monkeypatch):
    small_blocks(monkeypatch, elements=1)
    monkeypatch.setattr(reach, "FEWEST", 1)
    monkeypatch.setattr(reach, "QUERIES", 100)
    short, long = AttentionPlan((10,), "causal"), AttentionPlan((110,), "causal")
    with torch.no_grad():
        kernel.execute(*tensors(1, 1, lengths=(10,)), short, softcap=2.0)
        kernel.execute(*tensors(1, 1, lengths=(110,)), long, softcap=2.0)
        before = written._pattern.cache_info()
        kernel.execute(*tensors(1, 1, lengths=(10,)), short, softcap=2.0)
    after = written._pattern.cache_info()
    assert (after.hits, after.misses) == (before.hits + 1, before.misses)
