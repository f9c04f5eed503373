"""The vector of a loader for one text, compared with the vector of bothways."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One text in one loader.

    Attributes:
        loader: for example "llama.cpp".
        case: for example "korean, batch".
        cosine: cosine to the vector of bothways.
        bar: the lowest cosine that counts as right.
        cost: cosine between the reference vector, which has the prompt pooled, and the encoder's
            own vector. 1.0 if they are the same.
    """

    loader: str
    case: str
    cosine: float
    bar: float
    cost: float = 1.0

    @property
    def ok(self) -> bool:
        """True if the loader gives the vector of bothways."""
        return self.cosine >= self.bar
