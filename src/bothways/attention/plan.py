"""An attention pattern as data: which tokens of a packed row may see which.

A plan is a value without tensors of any model and without transformers. Kernels execute it; `dense` draws the same pattern as an
explicit mask, slowly and obviously, and is what the kernels are tested against.

Letters: T tokens of the packed row, S segments.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from bothways.config import Direction
from bothways.errors import InputError


class Run(NamedTuple):
    """`repeats` neighbouring segments of one `length`, the first at token `start`: a rectangle that needs no mask."""

    start: int
    length: int
    repeats: int


class Group(NamedTuple):
    """Neighbouring segments of similar length, the first at token `start`: a rectangle with little padding."""

    start: int
    lengths: tuple[int, ...]


NARROWEST = 0.75
"""The shortest segment of a group has at least this share of the longest one's tokens, so a rectangle wastes a quarter at most."""


@dataclass(frozen=True)
class AttentionPlan:
    """Texts packed one after the other into one row; a token sees only tokens of its own segment.

    Args:
        lengths: tokens of each segment, in order; all positive.
        direction: "bidirectional" (every token of a segment sees every other) or "causal" (itself and earlier ones).

    A layer with a sliding window narrows the plan; the window belongs to the layer, so it is an argument of `dense` and of the
    kernel, not of the plan. With window w, a causal token sees the w last tokens including itself, a bidirectional one those at
    distance ≤ w: transformers' conventions (`masking_utils`), so that a kept window means the same in every loader.

    Raises:
        InputError: no segment, or a segment without tokens, or an unknown direction.
    """

    lengths: tuple[int, ...]
    direction: Direction = "bidirectional"

    def __post_init__(self) -> None:
        """Refuse plans that no kernel could execute."""
        if not self.lengths or min(self.lengths) < 1:
            raise InputError(f"AttentionPlan.lengths: every segment needs at least one token (got {self.lengths!r})")
        if self.direction not in ("bidirectional", "causal"):
            raise InputError(f"AttentionPlan.direction: must be 'bidirectional' or 'causal' (got {self.direction!r})")

    @cached_property
    def total(self) -> int:
        """T, the tokens of the row."""
        return sum(self.lengths)

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest segment."""
        return max(self.lengths)

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Neighbouring segments of equal length joined, in row order; length-sorted packing makes them few."""
        runs: list[Run] = []
        start = 0
        for length in self.lengths:
            if runs and runs[-1].length == length:
                runs[-1] = runs[-1]._replace(repeats=runs[-1].repeats + 1)
            else:
                runs.append(Run(start, length, 1))
            start += length
        return tuple(runs)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Neighbouring segments of similar length joined, in row order."""
        groups: list[tuple[int, list[int]]] = []
        start = 0
        for length in self.lengths:
            if groups and min(length, *groups[-1][1]) >= NARROWEST * max(length, *groups[-1][1]):
                groups[-1][1].append(length)
            else:
                groups.append((start, [length]))
            start += length
        return tuple(Group(begin, tuple(lengths)) for begin, lengths in groups)

    def position_ids(self, device: torch.device | str = "cpu") -> Tensor:
        """Positions (T,) int64 that restart at 0 in every segment."""
        return _positions(self.lengths, torch.device(device))

    def segment_ids(self, device: torch.device | str = "cpu") -> Tensor:
        """Index (T,) int64 of each token's segment."""
        return _segments(self.lengths, torch.device(device))

    def cu_seqlens(self, device: torch.device | str = "cpu") -> Tensor:
        """Segment boundaries (S + 1,) int32, the form variable-length kernels take."""
        return _boundaries(self.lengths, torch.device(device))

    def dense(self, device: torch.device | str = "cpu", window: int | None = None) -> Tensor:
        """The pattern as a mask (T, T) bool: entry (q, k) is true where token q sees token k. Quadratic: for reference."""
        segment, position = self.segment_ids(device), self.position_ids(device)
        mask = segment[:, None] == segment[None, :]
        ahead = position[None, :] - position[:, None]
        if self.direction == "causal":
            mask &= ahead <= 0
            if window is not None:
                mask &= ahead > -window
        elif window is not None:
            mask &= ahead.abs() <= window
        return mask


# The layers of one forward pass ask for the same small tensors; the cache holds those of the last passes only. Made inside somebody's
# inference mode they would be barred from a later backward pass, so that mode is left for the moment.
@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _positions(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.cat([torch.arange(length) for length in lengths]).to(device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _segments(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _boundaries(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.nn.functional.pad(torch.tensor(lengths).cumsum(0), (1, 0)).to(device=device, dtype=torch.int32)
