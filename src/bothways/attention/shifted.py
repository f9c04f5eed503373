"""Shifted groups, the value: how S²-Attn cuts a text into groups, and which heads have theirs shifted by half a group.

S²-Attn (shifted sparse attention) trains on long texts at about a quarter of the score work: tokens see each other within groups of
a quarter of the text, and because half of the heads have their groups shifted by half a group, what one group knows reaches the next
one layer later. It is a pattern of training; the finished model attends to everything.

It stands apart from the plan, which lays texts into a row, and from `grouped`, which executes: here is arithmetic on one text.

Method: LongLoRA, arXiv 2309.12307, section 3.2. The authors published two forms of the shift. `wrap="none"` is the one of their
FlashAttention code: the half-groups at both ends of the text stay apart. `wrap="roll"` is the one of the paper's pseudo-code, which
rolls the text and so joins its last half-group with its first; under causal attention the first half-group then sees the end.

Letters: N tokens of a text, G tokens of a group.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal, get_args

from bothways.errors import InputError

Shift = Literal["heads", "layers", "all", "none"]
Toward = Literal["left", "right"]
Wrap = Literal["none", "roll"]


@dataclass(frozen=True)
class ShiftedGroups:
    """S²-Attn: attention within groups of each text, half of it shifted by half a group.

    Groups begin at 0, G, 2G, … and the last one is short where G does not divide N. Shifted groups begin at ⌊G/2⌋, ⌊G/2⌋ + G, …
    (`toward="right"`: at ⌈G/2⌉, …), with a group of its own for what lies before. A text of one group (N ≤ G) has nothing to be
    shifted against: every head sees all of it.

    Args:
        ratio: G as a share of the text, in (0, 1]; G = ⌈N · ratio⌉. A quarter as published.
        size: G in tokens, the same for every text; takes the place of `ratio`.
        shift: "heads" shifts the second half of the query heads (⌈heads / 2⌉ of them), as published; the paper's comparison
            patterns are "none", "all", and "layers", which shifts all heads of every second layer.
        toward: the way tokens move into their shifted groups; "left" as published. The two differ where G is odd, and where a
            rolled text ends in a short group.
        wrap: what becomes of the half-groups at the ends, see above. "none" never lets a causal token see a later one; "roll"
            does, in shifted heads, for the first ⌊G/2⌋ tokens (⌈G/2⌉ with `toward="right"`) and for no others.
        at_test: keep the pattern in evaluation mode, where attention is otherwise full; to measure what that costs.

    Raises:
        InputError: a number out of range or an unknown word.
    """

    ratio: float = 0.25
    size: int | None = None
    shift: Shift = "heads"
    toward: Toward = "left"
    wrap: Wrap = "none"
    at_test: bool = False

    # as a field of a typed configuration: unknown keys are errors there too
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        """Refuse what names no pattern."""
        if not 0 < self.ratio <= 1:
            raise InputError(f"ShiftedGroups.ratio: must be in (0, 1], a group's share of the text (got {self.ratio!r})")
        if self.size is not None and (not isinstance(self.size, int) or self.size < 1):
            raise InputError(f"ShiftedGroups.size: must be a whole number of tokens, at least 1 (got {self.size!r})")
        for name, kind in (("shift", Shift), ("toward", Toward), ("wrap", Wrap)):
            if getattr(self, name) not in get_args(kind):
                words = ", ".join(map(repr, get_args(kind)))
                raise InputError(f"ShiftedGroups.{name}: must be one of {words} (got {getattr(self, name)!r})")

    def group_size(self, length: int) -> int:
        """G for a text of `length` tokens, at least 1."""
        # the product of a ratio such as 0.07 may lie a rounding error above a whole number
        return math.ceil(round(length * self.ratio, 9)) if self.size is None else self.size

    def offset(self, length: int) -> int:
        """Tokens before the first whole shifted group of a text; 0 where shifting changes nothing."""
        size = self.group_size(length)
        if size >= length or size == 1:
            return 0
        return size // 2 if self.toward == "left" else size - size // 2

    def lengths(self, length: int, *, shifted: bool) -> tuple[int, ...]:
        """Tokens of each group of a text, in order; of the rolled text where `shifted` groups wrap (`rotation`)."""
        size = self.group_size(length)
        first = self.offset(length) if shifted and self.wrap == "none" else 0
        bounds = [0, *range(first or size, length, size), length]
        return tuple(end - start for start, end in pairwise(bounds))

    def rotation(self, length: int) -> int:
        """The token of a text that comes first in shifted heads: 0, or where wrapping rolls the text."""
        if self.wrap == "none" or self.offset(length) == 0:
            return 0
        half = self.group_size(length) // 2
        return half if self.toward == "left" else length - half

    def plain_heads(self, heads: int, layer: int | None = None) -> int:
        """How many of a layer's first query heads are not shifted.

        Args:
            heads: query heads of the layer. Of an odd number the smaller half is plain, as in the released code (the paper's
                pseudo-code has it the other way round; published models have even numbers).
            layer: its number from 0; even ones are plain under "layers".

        Raises:
            InputError: "layers" for a layer that does not know its number.
        """
        if self.shift == "heads":
            return heads // 2
        if self.shift != "layers":
            return heads if self.shift == "none" else 0
        if layer is None:
            raise InputError("ShiftedGroups.shift: 'layers' needs each layer's number, and this family's attention has none")
        return heads if layer % 2 == 0 else 0

    def refuse_window(self, window: int) -> None:
        """Rolled groups and sliding windows contradict each other.

        Raises:
            InputError: `wrap="roll"`.
        """
        if self.wrap == "roll":
            raise InputError(
                f"ShiftedGroups.wrap: 'roll' joins both ends of a text, which this model's sliding window of {window} tokens "
                "keeps apart; use wrap='none'"
            )
