"""What a loader gave for one text, next to what bothways gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One text in one loader.

    Attributes:
        loader: for example "llama.cpp".
        case: for example "korean, batch".
        cosine: to the vector of bothways.
        bar: the least cosine that counts as right.
        cost: cosine between the vector with the prompt pooled, which the loader is compared with, and
            the encoder's own; 1.0 if they are the same.
    """

    loader: str
    case: str
    cosine: float
    bar: float
    cost: float = 1.0

    @property
    def ok(self) -> bool:
        """Tell whether the loader gives bothways' vector."""
        return self.cosine >= self.bar
