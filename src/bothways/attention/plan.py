"""An attention pattern as data: which tokens of a packed row may see which.

A plan is a value without tensors of any model and without transformers. Kernels execute it. `dense`
draws the same pattern as an explicit mask, slowly and obviously, and the kernels are tested against
it. Besides packed texts in either direction there are two patterns: groups within each text
(`shifted`, LongLoRA's S²-Attn) and blocks that do not see each other (`blocks`, LLaRA).

Letters: T tokens of the packed row, S segments, G query heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from bothways.attention import blocks as hidden
from bothways.attention.shifted import ShiftedGroups
from bothways.config import Direction
from bothways.errors import InputError
from bothways.moved import old_names


class SegmentRun(NamedTuple):
    """`repeats` adjacent segments of `length` tokens from token `start`, which need no mask."""

    start: int
    length: int
    repeats: int


class SegmentGroup(NamedTuple):
    """Adjacent segments of similar length from token `start`: a rectangle with little padding."""

    start: int
    lengths: tuple[int, ...]


NARROWEST = 0.75
"""Ratio of the shortest to the longest segment of a group, at least.

So a rectangle wastes at most a quarter of its tokens.
"""


@dataclass(frozen=True)
class AttentionPlan:
    """Texts packed one after the other into one row, in which a token sees only its own segment.

    For example, AttentionPlan((3, 2)) is a row of two texts, of three and of two tokens.

    Args:
        lengths: tokens of each segment, in order. All are positive.
        direction: "bidirectional" (every token of a segment sees every other) or "causal" (it sees
            itself and earlier ones).
        shifted: S²-Attn. Each segment is cut into groups by its own length, and a token sees only
            tokens of its group. This is a pattern for training. In evaluation mode
            `run.hidden_states` leaves it out (`full`), unless the groups say otherwise.
        blocks: for each segment the token counts of the blocks at its end, () for none. A block
            sees itself and the text before the blocks. The text sees no block. Each block's
            positions begin at the end of the text. Empty if no segment has blocks.

    A layer with a sliding window narrows the plan. The window belongs to the layer, so it is an
    argument of `dense` and of the kernel, not of the plan. With window w, a causal token sees the
    last w tokens including itself, and a bidirectional one sees those at distance ≤ w. These are
    transformers' conventions (`masking_utils`), so a kept window means the same in every loader.

    Raises:
        InputError: if there are no segments, a segment is empty, the direction is unknown, blocks
            do not fit their segments, or a plan has both groups and blocks.
    """

    lengths: tuple[int, ...]
    direction: Direction = "bidirectional"
    shifted: ShiftedGroups | None = None
    blocks: hidden.Blocks = ()

    def __post_init__(self) -> None:
        """Refuse plans that no kernel could execute."""
        if not self.lengths or min(self.lengths) < 1:
            raise InputError(
                f"AttentionPlan.lengths: every segment needs at least one token (got {self.lengths!r})"
            )
        if self.direction not in ("bidirectional", "causal"):
            raise InputError(
                f"AttentionPlan.direction: must be 'bidirectional' or 'causal' (got {self.direction!r})"
            )
        if self.blocks:
            hidden.check(self.lengths, self.blocks)
            if self.shifted is not None:
                raise InputError(
                    "AttentionPlan: shifted groups would cut hidden blocks off their text; use one of the two"
                )

    @cached_property
    def total(self) -> int:
        """The number of tokens in the row, T."""
        return sum(self.lengths)

    @cached_property
    def longest(self) -> int:
        """The number of tokens in the longest segment."""
        return max(self.lengths)

    @cached_property
    def runs(self) -> tuple[SegmentRun, ...]:
        """Adjacent segments of equal length, joined, in row order.

        If packing sorts by length, they are few.
        """
        runs: list[SegmentRun] = []
        start = 0
        for length in self.lengths:
            if runs and runs[-1].length == length:
                runs[-1] = runs[-1]._replace(repeats=runs[-1].repeats + 1)
            else:
                runs.append(SegmentRun(start, length, 1))
            start += length
        return tuple(runs)

    @cached_property
    def groups(self) -> tuple[SegmentGroup, ...]:
        """Adjacent segments of similar length, joined, in row order."""
        groups: list[tuple[int, list[int]]] = []
        start = 0
        for length in self.lengths:
            if groups and min(length, *groups[-1][1]) >= NARROWEST * max(length, *groups[-1][1]):
                groups[-1][1].append(length)
            else:
                groups.append((start, [length]))
            start += length
        return tuple(SegmentGroup(begin, tuple(lengths)) for begin, lengths in groups)

    @cached_property
    def full(self) -> AttentionPlan:
        """The plan without shifted groups, which evaluation runs."""
        return self if self.shifted is None else AttentionPlan(self.lengths, self.direction)

    @cached_property
    def plain_groups(self) -> AttentionPlan:
        """The plan of heads that are not shifted, with every group as a segment."""
        return self._grouped(shifted=False)

    @cached_property
    def shifted_groups(self) -> AttentionPlan:
        """The plan of shifted heads, with every group as a segment.

        If groups wrap, it is a plan of the row that `roll` rearranges.
        """
        return self._grouped(shifted=True)

    def _grouped(self, *, shifted: bool) -> AttentionPlan:
        if self.shifted is None:
            raise InputError("AttentionPlan.shifted: this plan has no groups")
        lengths = (
            part
            for length in self.lengths
            for part in self.shifted.lengths(length, shifted=shifted)
        )
        return AttentionPlan(tuple(lengths), self.direction)

    @cached_property
    def tails(self) -> tuple[int, ...]:
        """The number of tokens at each segment's end that `body` omits because of hidden blocks."""
        return (
            hidden.tails(self.blocks, self.direction) if self.blocks else (0,) * len(self.lengths)
        )

    @cached_property
    def body(self) -> AttentionPlan:
        """The plan of all other tokens among themselves, as plain segments."""
        return AttentionPlan(
            tuple(length - tail for length, tail in zip(self.lengths, self.tails)), self.direction
        )

    def position_ids(self, device: torch.device | str = "cpu") -> Tensor:
        """Compute the position (T,) int64 of each token.

        Positions restart at 0 in every segment, and at the end of the text in each of its blocks.
        """
        if self.blocks:
            return hidden.positions(self.lengths, self.blocks, torch.device(device))
        return _positions(self.lengths, torch.device(device))

    def block_ids(self, device: torch.device | str = "cpu") -> Tensor:
        """Compute the block (T,) int64 of each token.

        It is 0 for text, then 1, 2, … in the order of the segment's blocks.
        """
        return hidden.ids(
            self.lengths, self.blocks or ((),) * len(self.lengths), torch.device(device)
        )

    def roll(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor] | None:
        """Compute the index (T,) int64 that rolls each segment for heads with wrapping groups.

        Returns:
            The index and its inverse, or None if nothing is rolled.
        """
        if self.shifted is None or self.shifted.wrap == "none":
            return None
        return _rolled(self.lengths, self.shifted, torch.device(device))

    def segment_ids(self, device: torch.device | str = "cpu") -> Tensor:
        """Compute the index (T,) int64 of each token's segment."""
        return _segments(self.lengths, torch.device(device))

    def cu_seqlens(self, device: torch.device | str = "cpu") -> Tensor:
        """Compute the segment boundaries (S + 1,) int32, as variable-length kernels need them."""
        return _boundaries(self.lengths, torch.device(device))

    def dense(
        self,
        device: torch.device | str = "cpu",
        window: int | None = None,
        *,
        shifted: bool = False,
    ) -> Tensor:
        """Draw the pattern as a mask (T, T) bool. It is quadratic and serves as the reference.

        Entry (q, k) is True if token q sees token k.

        Args:
            device: device of the mask.
            window: sliding window of the layer.
            shifted: if True, draw the mask of shifted heads. It has no effect in plans without
                groups.

        Raises:
            InputError: if a window meets groups that wrap.
        """
        segment, place = self.segment_ids(device), self.position_ids(device)
        mask = segment[:, None] == segment[None, :]
        if self.blocks:
            block = self.block_ids(device)
            mask &= (block[None, :] == 0) | (block[None, :] == block[:, None])
        if self.shifted is not None:
            if window is not None and window < self.longest:
                self.shifted.refuse_window(window)
            group, place = _group_ids(self.lengths, self.shifted, shifted)
            mask &= (group[:, None] == group[None, :]).to(mask.device)
            place = place.to(mask.device)
        ahead = place[None, :] - place[:, None]
        if self.direction == "causal":
            mask &= ahead <= 0
            if window is not None:
                mask &= ahead > -window
        elif window is not None:
            mask &= ahead.abs() <= window
        return mask

    def dense_heads(
        self,
        heads: int,
        layer: int | None = None,
        device: torch.device | str = "cpu",
        window: int | None = None,
    ) -> Tensor:
        """Draw the pattern of every head of a layer, (G, T, T) bool.

        If all heads are alike, each is that of `dense`.
        """
        plain = heads if self.shifted is None else self.shifted.plain_heads(heads, layer)
        kinds = [self.dense(device, window, shifted=kind) for kind in (False, True)]
        return torch.stack([kinds[head >= plain] for head in range(heads)])

    def scores(self, heads: int, layer: int | None = None) -> int:
        """Count the pairs (token, token it sees) over all heads of a layer without a window.

        This is the arithmetic cost of attention.
        """
        if self.shifted is None:
            return heads * (_pairs(self.body.lengths, self.direction) + self._tail_scores)
        plain = self.shifted.plain_heads(heads, layer)
        shares = ((plain, self.plain_groups), (heads - plain, self.shifted_groups))
        return sum(share * _pairs(plan.lengths, self.direction) for share, plan in shares)

    @property
    def _tail_scores(self) -> int:
        seen = 0
        for length, sizes in zip(self.lengths, self.blocks):
            for size in sizes[1:] if self.direction == "causal" else sizes:
                seen += size * (length - sum(sizes)) + _pairs((size,), self.direction)
        return seen


def _pairs(lengths: tuple[int, ...], direction: Direction) -> int:
    return sum(n * (n + 1) // 2 if direction == "causal" else n * n for n in lengths)


def _group_ids(
    lengths: tuple[int, ...], groups: ShiftedGroups, shifted: bool
) -> tuple[Tensor, Tensor]:
    """Compute each token's group (T,) in its segment, and its place (T,) in the order of attention.

    It works token by token.
    """
    group, place = [], []
    for length in lengths:
        size = groups.group_size(length)
        moved = groups.offset(length) if shifted else 0
        for token in range(length):
            at = (token - groups.rotation(length)) % length if shifted else token
            # Adding a whole group gives number 0 to the tokens before the first shifted group.
            group.append((at + size - moved) // size if groups.wrap == "none" else at // size)
            place.append(at)
    return torch.tensor(group), torch.tensor(place)


# The layers of one forward pass ask for the same small tensors. The cache holds only those of the
# last passes. Tensors made in a caller's inference mode could not be used in a later backward pass,
# so that mode is switched off here.
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
    return torch.nn.functional.pad(torch.tensor(lengths).cumsum(0), (1, 0)).to(
        device=device, dtype=torch.int32
    )


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _rolled(
    lengths: tuple[int, ...], groups: ShiftedGroups, device: torch.device
) -> tuple[Tensor, Tensor]:
    parts, start = [], 0
    for length in lengths:
        parts.append(torch.arange(start, start + length).roll(-groups.rotation(length)))
        start += length
    order = torch.cat(parts)
    return order.to(device), order.argsort().to(device)


__getattr__ = old_names(__name__)
