"""Gathers the rows of all processes into one matrix, with gradient.

In-batch negatives grow with the batch, so the rows of every process become columns of every
process's similarity matrix. The gradient flows back to the process that made the row (LLM2Vec and
GradCache do this; SimCSE's released code keeps only the local shard's gradient). It uses only
torch.distributed. With one process, or if none is initialized, it returns the rows unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


class Gathered(NamedTuple):
    """Rows (P, D) of all processes in rank order, and the index of this process's first row."""

    rows: Tensor
    offset: int


_alone = False


@contextmanager
def alone() -> Iterator[None]:
    """Take this process's rows for all rows inside the block.

    For example, a held-out loss is read by one process while the others wait, or by all of them
    with equal rows.
    """
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def several_processes() -> bool:
    """Tell if other processes hold rows too."""
    there = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    return there and not _alone


def largest(numbers: Sequence[int], device: torch.device) -> list[int]:
    """Return the maximum of each number over all processes."""
    if not several_processes():
        return list(numbers)
    found = torch.tensor(list(numbers), device=device)
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return [int(number) for number in found]


def gather_rows(rows: Tensor) -> Gathered:
    """Concatenate `rows` (N, D) of all processes. N may differ between them, D may not.

    The gradients of all processes' losses with respect to a row add up on the process that holds
    it. So a trainer that *sums* parameter gradients over processes gets those of one process with
    all rows.
    """
    if not several_processes():
        return Gathered(rows, 0)
    count = torch.tensor([rows.shape[0]], device=rows.device)
    counts = [torch.empty_like(count) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, count)
    sizes = [int(size) for size in counts]
    return Gathered(_Gather.apply(rows, sizes), sum(sizes[: dist.get_rank()]))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        # all_gather needs equal shapes, and the last batch of an epoch may be ragged. There is at
        # least one row, because no backend promises to accept empty tensors.
        padded = rows.new_zeros(max(1, *sizes), *rows.shape[1:])
        padded[: rows.shape[0]] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)
        start = sum(ctx.sizes[: dist.get_rank()])
        return summed[start : start + ctx.sizes[dist.get_rank()]], None
