"""Hidden blocks, executed: a plain kernel for most of the row, small rectangles for the rest."""

from __future__ import annotations

import torch

from bothways.attention import blocks, kernel
from bothways.attention.blocked import fused_rectangle
from bothways.attention.explicit import attend_rectangle
from bothways.attention.plan import AttentionPlan

WIDTH = 8


def tensors(total, heads, key_heads, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(total, h, WIDTH, generator=generator, dtype=torch.float64).to(dtype) for h in (heads, key_heads, key_heads)
    ]


def test_the_fused_rectangle_of_cuda_equals_the_written_one():
    """It needs no CUDA to be right: torch's fused attention under a mask runs here too."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(3, n, h, WIDTH, generator=generator, dtype=torch.float64) for n, h in ((4, 6), (11, 2), (11, 2)))
    seen = torch.rand(3, 4, 11, generator=generator) < 0.5
    seen[..., 0] = True
    bias = torch.zeros(seen.shape, dtype=torch.float64).masked_fill(~seen, float("-inf"))[:, None, None]
    written = attend_rectangle(q, k, v, 0.3, bias, 0.0, None, None)
    torch.testing.assert_close(fused_rectangle(q, k, v, seen, 0.3, 0.0), written, atol=1e-12, rtol=0)


def test_most_of_the_work_is_plain(monkeypatch):
    """The body runs as plain segments; only the tails' rows are written out, none of them against a
    whole row of texts.
    """
    plan = AttentionPlan((400, 400), "causal", blocks=((19, 18), (19, 18)))
    assert (plan.body.lengths, plan.tails) == ((382, 382), (18, 18))
    assert AttentionPlan((400,), blocks=((19, 18),)).body.lengths == (363,)
    shapes = []
    from bothways.attention import blocked

    original = blocked.attend_rectangle
    monkeypatch.setattr(
        blocked, "attend_rectangle", lambda q, k, *rest: shapes.append((q.shape[:2], k.shape[:2])) or original(q, k, *rest)
    )
    kernel.execute(*tensors(800, 4, 2, torch.float32), plan)
    assert shapes == [((2, 18), (2, 400))]


def test_rows_unfolded_for_padded_families_hold_each_block_behind_its_text():
    lengths, sizes = (7, 3, 5), ((2, 1), (), (2,))
    unfolded = blocks.unfold(lengths, sizes, torch.device("cpu"))
    assert unfolded.lengths == (6, 5, 3, 5)
    assert unfolded.source.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    assert torch.equal(unfolded.source[unfolded.place], torch.arange(15))
    plan = AttentionPlan(lengths, "causal", blocks=sizes)
    made = tensors(15, 4, 2)
    plain = kernel.execute(*(t[unfolded.source] for t in made), AttentionPlan(unfolded.lengths, "causal"))
    torch.testing.assert_close(kernel.execute(*made, plan), plain[unfolded.place], atol=1e-12, rtol=0)
