"""Medians and quartiles of ratios within rounds.

A machine's speed changes from minute to minute. In one round all peers run one after the other, so
the ratio of two peers of one round is less affected than the times themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Spread:
    """A median with the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the median and quartiles of at least one value, interpolated linearly."""
        low, median, high = np.quantile(np.asarray(values, dtype=np.float64), [0.25, 0.5, 0.75])
        return cls(float(median), float(low), float(high))

    def as_dict(self) -> dict[str, float]:
        """Return the three numbers by name."""
        return asdict(self)


@dataclass
class Timed:
    """The times of one peer in one workload.

    Attributes:
        rounds: seconds of each text or call, for each round.
    """

    rounds: list[list[float]]

    @property
    def totals(self) -> list[float]:
        """Seconds of each round."""
        return [sum(seconds) for seconds in self.rounds]

    def figures(self, own: Timed, tokens: int, each: bool) -> dict[str, Any]:
        """Compute the figures of a peer.

        Args:
            own: the times of bothways in the same rounds.
            tokens: tokens of the workload.
            each: whether texts were timed one by one.

        Returns:
            "seconds" of each round, "tokens_per_second", and "ratio": this peer's time divided by
            that of bothways. For `each` also the latency of one text in milliseconds, "p50" and
            "p99", over all rounds.
        """
        found: dict[str, Any] = {
            "seconds": self.totals,
            "tokens_per_second": Spread.of([tokens / total for total in self.totals]).as_dict(),
            "ratio": Spread.of(
                [mine / base for mine, base in zip(self.totals, own.totals)]
            ).as_dict(),
        }
        if each:
            milliseconds = 1e3 * np.concatenate([np.asarray(part) for part in self.rounds])
            found["p50"], found["p99"] = (float(np.quantile(milliseconds, q)) for q in (0.5, 0.99))
        return found
