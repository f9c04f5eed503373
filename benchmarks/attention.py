"""Fused against explicit attention on this CPU, forward and with backward: what the choice in
attention/kernel.py rests on.

Run: .venv/bin/python benchmarks/attention.py
     .venv/bin/python benchmarks/attention.py --lengths 128 256 512 1024 --spread 0 --tokens 4096 --direction causal    equal lengths
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from functools import partial
from typing import get_args

import torch
from torch import Tensor

from bothways.attention import kernel
from bothways.attention.explicit import explicit
from bothways.attention.plan import AttentionPlan
from bothways.config import Direction

HEADS, KEY_HEADS, WIDTH = 9, 3, 64  # SmolLM2-135M


def milliseconds(call: Callable[[], object], times: int = 10) -> float:
    for _ in range(3):
        call()
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times * 1e3


def trained(form: Callable[[], Tensor]) -> None:
    form().sum().backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=[12, 24, 42, 100, 200, 400, 800], help="mean tokens of a text"
    )
    parser.add_argument(
        "--spread", type=float, default=0.12, help="standard deviation of the lengths, as a share of their mean"
    )
    parser.add_argument("--tokens", type=int, default=2048, help="of all texts together, at the least")
    parser.add_argument("--direction", choices=get_args(Direction), default="bidirectional")
    options = parser.parse_args()
    generator = random.Random(0)
    spread = f"lengths spread by {options.spread:.0%}" if options.spread else "of equal lengths"
    print(
        f"bfloat16, {options.direction}, {options.tokens} tokens, {HEADS}/{KEY_HEADS} heads of {WIDTH}, {spread}; milliseconds"
    )
    print(f"{'mean length':>12} {'fused fwd':>10} {'explicit':>10} {'fused bwd':>10} {'explicit':>10} {'+ dropout':>10}")
    for mean in options.lengths:
        lengths: list[int] = []
        while sum(lengths) < options.tokens:
            lengths.append(max(2, int(generator.gauss(mean, mean * options.spread))))
        plan = AttentionPlan(tuple(sorted(lengths, reverse=True)), options.direction)
        shapes = ((plan.total, heads, WIDTH) for heads in (HEADS, KEY_HEADS, KEY_HEADS))
        q, k, v = (torch.randn(shape, dtype=torch.bfloat16, requires_grad=True) for shape in shapes)

        def fused(q=q, k=k, v=v, plan=plan):
            cuts = (kernel._cut(run, q, k, v) for run in plan.runs)
            return torch.cat([kernel._fused(cut, plan.direction, WIDTH**-0.5, 0.0, None) for cut in cuts])

        def written(dropout=0.0, q=q, k=k, v=v, plan=plan):
            return explicit(q, k, v, plan, WIDTH**-0.5, dropout=dropout)

        with torch.no_grad():
            forward = milliseconds(fused), milliseconds(written)
        backward = [milliseconds(partial(trained, form)) for form in (fused, written, partial(written, 0.3))]
        print(f"{mean:>12} " + " ".join(f"{value:>10.1f}" for value in (*forward, *backward)))


if __name__ == "__main__":
    main()
