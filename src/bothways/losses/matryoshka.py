"""Matryoshka representation learning: the first numbers of a vector form a vector too.

The loss is a weighted sum over widths, each on vectors cut to their first m numbers and normalized
again (Kusupati et al., arXiv 2205.13147, eq. 1, with all weights 1). Users of `truncate_dim` rely
on these widths.
"""

from __future__ import annotations

from dataclasses import dataclass

from bothways.errors import InputError


@dataclass(frozen=True)
class Matryoshka:
    """Widths and their weights, for example Matryoshka((768, 256, 64)).

    Args:
        widths: numbers of dimensions to keep, each once. The whole vector is trained only if its
            width is among them.
        weights: weight of each width. If None, each is 1.

    Raises:
        InputError: if there are no widths, if one appears twice or is below 1, or if the weights do
            not match.
    """

    widths: tuple[int, ...]
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1 or len(set(self.widths)) < len(self.widths):
            raise InputError(
                f"matryoshka: widths {list(self.widths)}; expected different numbers of at least 1"
            )
        if self.weights is not None and (
            len(self.weights) != len(self.widths) or min(self.weights) <= 0
        ):
            raise InputError(
                f"matryoshka: weights {list(self.weights)} for widths {list(self.widths)}; expected one above 0 for each width"
            )

    def pairs(self, dimension: int) -> list[tuple[int, float]]:
        """List (width, weight), the largest width first.

        Raises:
            InputError: if a width exceeds the vector's.
        """
        if max(self.widths) > dimension:
            raise InputError(
                f"matryoshka: width {max(self.widths)} exceeds the vectors' {dimension} dimensions"
            )
        weights = self.weights or (1.0,) * len(self.widths)
        return sorted(zip(self.widths, weights), reverse=True)
