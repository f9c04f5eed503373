"""Fused against explicit attention on this CPU, forward and with backward: what the choice in attention/kernel.py rests on.

Run: .venv/bin/python benchmarks/attention.py
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import torch

from bothways.attention import kernel
from bothways.attention.explicit import explicit
from bothways.attention.plan import AttentionPlan

HEADS, KEY_HEADS, WIDTH, TOKENS = 9, 3, 64, 2048  # SmolLM2-135M


def milliseconds(call: Callable[[], object], times: int = 10) -> float:
    for _ in range(3):
        call()
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times * 1e3


def main() -> None:
    generator = random.Random(0)
    print(f"bfloat16, {TOKENS} tokens, {HEADS}/{KEY_HEADS} heads of {WIDTH}, lengths spread by 12 %; milliseconds")
    print(f"{'mean length':>12} {'fused fwd':>10} {'explicit':>10} {'fused bwd':>10} {'explicit':>10} {'+ dropout':>10}")
    for mean in (12, 24, 42, 100, 200, 400, 800):
        lengths: list[int] = []
        while sum(lengths) < TOKENS:
            lengths.append(max(2, int(generator.gauss(mean, mean * 0.12))))
        plan = AttentionPlan(tuple(sorted(lengths, reverse=True)))
        shapes = ((plan.total, heads, WIDTH) for heads in (HEADS, KEY_HEADS, KEY_HEADS))
        q, k, v = (torch.randn(shape, dtype=torch.bfloat16, requires_grad=True) for shape in shapes)

        def fused(q=q, k=k, v=v, plan=plan):
            cuts = (kernel._cut(run, q, k, v) for run in plan.runs)
            return torch.cat([kernel._fused(cut, plan.direction, WIDTH**-0.5, 0.0, None) for cut in cuts])

        def written(dropout=0.0, q=q, k=k, v=v, plan=plan):
            return explicit(q, k, v, plan, WIDTH**-0.5, dropout=dropout)

        with torch.no_grad():
            forward = milliseconds(fused), milliseconds(written)
        backward = [milliseconds(lambda f=f: f().sum().backward()) for f in (fused, written, lambda: written(0.3))]
        print(f"{mean:>12} " + " ".join(f"{value:>10.1f}" for value in (*forward, *backward)))


if __name__ == "__main__":
    main()
