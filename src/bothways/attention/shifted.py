"""Shifted groups of S²-Attn: the division of a text into groups, and the heads that shift them.

S²-Attn (shifted sparse attention) trains on long texts at about a quarter of the score work. Tokens
see each other within groups of a quarter of the text. Half of the heads have their groups shifted
by half a group, so the information of one group reaches the next one a layer later. It is a pattern
for training. The finished model attends to everything.

This module is arithmetic on one text. The plan lays texts into a row, and `grouped` executes it.

Method: LongLoRA, arXiv 2309.12307, section 3.2. The authors published two forms of the shift.
`wrap="none"` is the one of their FlashAttention code: the half-groups at both ends of the text stay
separate. `wrap="roll"` is the one of the paper's pseudo-code, which rolls the text and so joins its
last half-group with its first. Under causal attention the first half-group then sees the end.

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

    Groups begin at 0, G, 2G, … If G does not divide N, the last one is shorter. Shifted groups
    begin at ⌊G/2⌋, ⌊G/2⌋ + G, … (with `toward="right"` at ⌈G/2⌉, …), and the tokens before form a
    group of their own. If a text has only one group (N ≤ G), shifting does not apply and every head
    sees all of it.

    For example, with 10 tokens and G = 4 plain groups have 4, 4, 2 tokens and shifted ones 2, 4, 4.

    Args:
        ratio: G as a share of the text, in (0, 1]; G = ⌈N · ratio⌉. The default, a quarter, is the
            published one.
        size: G in tokens, the same for every text. If given, it replaces `ratio`.
        shift: "heads" shifts the second half of the query heads (⌈heads / 2⌉ of them), as
            published. The paper's comparison patterns are "none", "all", and "layers", which shifts
            all heads of every second layer.
        toward: the direction in which tokens move into their shifted groups. The default, "left",
            is the published one. The two differ if G is odd, or if a rolled text ends in a short
            group.
        wrap: treatment of the half-groups at the ends, see above. With "none" a causal token never
            sees a later one. With "roll" it does, in shifted heads, for the first ⌊G/2⌋ tokens
            (⌈G/2⌉ with `toward="right"`) and for no others.
        at_test: if True, keep the pattern in evaluation mode, in which attention is otherwise full.
            This measures its cost in quality.

    Raises:
        InputError: if a number is out of range or a word is unknown.
    """

    ratio: float = 0.25
    size: int | None = None
    shift: Shift = "heads"
    toward: Toward = "left"
    wrap: Wrap = "none"
    at_test: bool = False

    # As a field of a typed configuration, unknown keys are errors there too.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        """Refuse values that do not describe a pattern."""
        if not 0 < self.ratio <= 1:
            raise InputError(
                f"ShiftedGroups.ratio: must be in (0, 1], a group's share of the text (got {self.ratio!r})"
            )
        if self.size is not None and (not isinstance(self.size, int) or self.size < 1):
            raise InputError(
                f"ShiftedGroups.size: must be a whole number of tokens, at least 1 (got {self.size!r})"
            )
        for name, kind in (("shift", Shift), ("toward", Toward), ("wrap", Wrap)):
            if getattr(self, name) not in get_args(kind):
                words = ", ".join(map(repr, get_args(kind)))
                raise InputError(
                    f"ShiftedGroups.{name}: must be one of {words} (got {getattr(self, name)!r})"
                )

    def group_size(self, length: int) -> int:
        """Compute G for a text of `length` tokens, at least 1."""
        # The product with a ratio such as 0.07 may lie a rounding error above a whole number.
        return math.ceil(round(length * self.ratio, 9)) if self.size is None else self.size

    def offset(self, length: int) -> int:
        """Return the number of tokens before a text's first whole shifted group.

        It is 0 if shifting changes nothing.
        """
        size = self.group_size(length)
        if size >= length or size == 1:
            return 0
        return size // 2 if self.toward == "left" else size - size // 2

    def lengths(self, length: int, *, shifted: bool) -> tuple[int, ...]:
        """Return the number of tokens of each group of a text, in order.

        If `shifted` groups wrap, these are groups of the rolled text (`rotation`).
        """
        size = self.group_size(length)
        first = self.offset(length) if shifted and self.wrap == "none" else 0
        bounds = [0, *range(first or size, length, size), length]
        return tuple(end - start for start, end in pairwise(bounds))

    def rotation(self, length: int) -> int:
        """Return the index of the token that comes first in shifted heads: 0 unless groups wrap."""
        if self.wrap == "none" or self.offset(length) == 0:
            return 0
        half = self.group_size(length) // 2
        return half if self.toward == "left" else length - half

    def plain_heads(self, heads: int, layer: int | None = None) -> int:
        """Count the query heads of a layer that are not shifted. They come first.

        Args:
            heads: query heads of the layer. If the number is odd, the smaller half is plain, as in
                the released code. (The paper's pseudo-code does the opposite; published models have
                even numbers.)
            layer: its number from 0. With "layers", even ones are plain.

        Raises:
            InputError: if `shift` is "layers" and the layer does not know its number.
        """
        if self.shift == "heads":
            return heads // 2
        if self.shift != "layers":
            return heads if self.shift == "none" else 0
        if layer is None:
            raise InputError(
                "ShiftedGroups.shift: 'layers' needs each layer's number, which this family's attention does not have"
            )
        return heads if layer % 2 == 0 else 0

    def refuse_window(self, window: int) -> None:
        """Refuse a sliding window if groups are rolled, because the two contradict each other.

        Raises:
            InputError: if `wrap` is "roll".
        """
        if self.wrap == "roll":
            raise InputError(
                f"ShiftedGroups.wrap: 'roll' joins both ends of a text, but this model's sliding window of {window} tokens "
                "separates them; use wrap='none'"
            )
