"""Every random choice of a run as a function of seed, stage, step, micro-batch and process.

Resuming relies on this alone. Nothing random is carried from step to step, so there is no generator
state to save, and a run resumed at step k draws the same as the uninterrupted run. Derived seeds
are hashes, not sums: seed 1 of step 2 must not be seed 2 of step 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import torch

from bothways.data.batches import Batching, TaskRows, batches_per_epoch, epoch_batches, epoch_rows


def derive(*parts: int | str) -> int:
    """Derive a seed in [0, 2^63) from numbers and words, for example `derive(42, "order", 0)`.

    The result is the same on every machine and Python.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """Return a CPU generator seeded with `derive(*parts)`."""
    return torch.Generator().manual_seed(derive(*parts))


class BatchOrder(Protocol):
    """Which examples belong to which micro-batch."""

    @property
    def global_size(self) -> int:
        """Examples of an optimizer step, over all processes."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of a pass over the data, or 0 if its length is not known."""
        ...

    @property
    def examples(self) -> int | None:
        """Number of examples, or None if it is not known."""
        ...

    def rows(self, step: int, micro: int, process: int) -> list[int]:
        """Return the example numbers of one micro-batch of optimizer step `step` (from 0)."""
        ...


class Order:
    """Which examples belong to which micro-batch.

    Every epoch is permuted again and cut into global batches of size x accumulation x world rows. A
    rest that does not fill one is left out of the epoch, but since each epoch permutes again, no
    example is left out for good. Micro-batch m of process p takes block m x world + p of its global
    batch. So two processes with N rows see together the same rows as one process with 2 N, or with
    twice the accumulation.
    """

    def __init__(
        self,
        data: int | Sequence[TaskRows],
        *,
        size: int,
        accumulation: int,
        world: int,
        seed: int,
        stage: int,
        batches: Batching = "blended",
    ) -> None:
        """Lay out the data.

        Args:
            data: number of examples, or groups with tasks and weights.
            size: rows per micro-batch and process.
            accumulation: micro-batches per step and process.
            world: number of processes.
            seed: seed of the run.
            stage: number of the stage, from 0.
            batches: "blended" (every task in one batch) or "homogeneous" (each batch of one task).
        """
        self.groups = (TaskRows(range(data)),) if isinstance(data, int) else tuple(data)
        self.size, self.world, self.kind = size, world, batches
        self.global_size = size * accumulation * world
        self.examples = sum(len(group.rows) for group in self.groups)
        self.seed, self.stage = seed, stage
        self.steps_per_epoch = batches_per_epoch(self.groups, self.global_size, batches)
        self._epoch = -1
        self._batches: list[list[int]] = []

    def rows(self, step: int, micro: int, process: int) -> list[int]:
        """Return the example numbers of one micro-batch of optimizer step `step` (from 0)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            rows = epoch_rows(
                self.groups,
                epoch,
                lambda group, lap: generator(self.seed, "mix", self.stage, group, lap),
            )
            shuffle = generator(self.seed, "order", self.stage, epoch)
            self._batches = epoch_batches(self.groups, rows, self.global_size, self.kind, shuffle)
            self._epoch = epoch
        first = (micro * self.world + process) * self.size
        return self._batches[position][first : first + self.size]
