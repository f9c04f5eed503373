"""The statistics of a mining run.

They hold how many texts were searched, what was left out and why, how scores are distributed, and
which rows stayed without a negative.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bothways.data.labeled.example import Example
from bothways.mining.corpus import Documents
from bothways.mining.options import MiningOptions
from bothways.mining.select import Choice
from bothways.similarity_names import NAMES

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_SHOWN = 3  # queries named among those without a negative


@dataclass
class Counts:
    """Counts that can be added up over blocks of rows.

    Attributes:
        filtered: reason -> documents, counted once for every row that met them.
        spare: documents that passed and were not needed.
        filled: negatives drawn at random, because too few passed.
        empty_by: reason -> rows that were left without a negative and met it most often.
    """

    filtered: Counter[str] = field(default_factory=Counter)
    spare: int = 0
    filled: int = 0
    empty_by: Counter[str] = field(default_factory=Counter)

    def add(self, choice: Choice) -> None:
        """Count one row."""
        met = Counter(reason for _, _, _, reason in choice.filtered)
        self.filtered.update(met)
        self.spare += choice.spare
        self.filled += choice.filled
        if not choice.places:
            self.empty_by[met.most_common(1)[0][0] if met else "no document ranked"] += 1

    def merge(self, other: Counts) -> None:
        """Add the counts of another block."""
        self.filtered.update(other.filtered)
        self.spare += other.spare
        self.filled += other.filled
        self.empty_by.update(other.empty_by)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as JSON values, which `from_dict` reads."""
        return {
            "filtered": dict(self.filtered),
            "spare": self.spare,
            "filled": self.filled,
            "empty_by": dict(self.empty_by),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Counts:
        """Read the counts that `as_dict` wrote."""
        return cls(
            Counter(values["filtered"]),
            int(values["spare"]),
            int(values["filled"]),
            Counter(values["empty_by"]),
        )


@dataclass
class Statistics:
    """The statistics of a run. `summary` names every figure."""

    options: MiningOptions
    counts: Counts = field(default_factory=Counts)
    documents: int = 0
    candidates: int = 0
    empty: int = 0
    copies: int = 0
    held: int = 0
    rows: int = 0
    full: int = 0
    short: int = 0
    without: int = 0
    without_shown: list[str] = field(default_factory=list)
    negatives: int = 0
    positive_scores: dict[str, float] = field(default_factory=dict)
    negative_scores: dict[str, float] = field(default_factory=dict)
    hardest: dict[str, float] = field(default_factory=dict)

    def corpus(self, documents: Documents) -> None:
        """Count a corpus."""
        self.documents += documents.given
        self.candidates += documents.candidates
        self.empty += documents.empty
        self.copies += documents.copies
        self.held += documents.held

    def examples(self, examples: Sequence[Example]) -> None:
        """Count the finished rows, before any is dropped."""
        wanted = self.options.negatives
        self.rows = len(examples)
        self.full = sum(len(row.negatives) >= wanted for row in examples)
        self.without = sum(not row.negatives for row in examples)
        self.short = self.rows - self.full - self.without
        self.without_shown = [row.query for row in examples if not row.negatives][:_SHOWN]
        self.negatives = sum(len(row.negatives) for row in examples)
        self.positive_scores = quantiles(
            [score for row in examples for score in row.positive_scores or ()]
        )
        self.negative_scores = quantiles(
            [score for row in examples for score in row.negative_scores or ()]
        )
        both = [
            row
            for row in examples
            if row.negative_scores and row.positive_scores and min(row.positive_scores) > 0
        ]
        self.hardest = quantiles(
            [max(row.negative_scores or ()) / min(row.positive_scores or ()) for row in both]
        )

    def summary(self) -> dict[str, Any]:
        """Return every figure as JSON values."""
        options = self.options
        return {
            "method": options.method,
            **({} if options.similarity is None else {"similarity": options.similarity}),
            "window": list(options.ranks),
            "limits": options.limits(),
            "sampling": options.sampling,
            "documents": {
                "given": self.documents,
                "candidates": self.candidates,
                "empty": self.empty,
                "copies": self.copies,
            }
            | {"held_by_evaluation_data": self.held},
            "rows": {
                "all": self.rows,
                "full": self.full,
                "short": self.short,
                "without_negatives": self.without,
            },
            "without_negatives": {
                "became": "kept, with no negative of their own"
                if options.empty == "keep"
                else "dropped",
                "mostly_because": dict(self.counts.empty_by.most_common()),
                "first": self.without_shown,
            },
            "negatives": self.negatives,
            "filtered": dict(self.counts.filtered.most_common()),
            "passed_and_not_needed": self.counts.spare,
            "drawn_at_random": self.counts.filled,
            "positive_scores": self.positive_scores,
            "negative_scores": self.negative_scores,
            "hardest_negative_over_lowest_positive": self.hardest,
        }

    def lines(self) -> list[str]:
        """Return the statistics as lines for people."""
        options = self.options
        scores = f"{NAMES[options.similarity or 'cosine']}s"
        kind = {
            "bm25": "BM25 scores",
            "dense": scores,
            "hybrid": f"{scores} of candidates from both rankings",
        }[options.method]
        ratio = self.negatives / self.rows if self.rows else 0.0
        lines = [
            f"{self.rows} rows, {self.negatives} negatives ({ratio:.2f} a row): {self.full} with {options.negatives}, "
            f"{self.short} with fewer, {self.without} without",
            f"  corpus: {self.candidates} candidates of {self.documents} texts"
            + _list(
                {"copies": self.copies, "empty": self.empty, "held by evaluation data": self.held}
            ),
            f"  ranks {options.ranks[0]} to {options.ranks[1]} by {options.method}, {options.sampling}; "
            f"{options.limits()} ({kind})",
        ]
        lines += [
            f"  filtered: {count} {reason}" for reason, count in self.counts.filtered.most_common()
        ]
        lines.append(f"  passed and not needed: {self.counts.spare}")
        if self.counts.filled:
            lines.append(f"  drawn at random because too few passed: {self.counts.filled}")
        names = {"positives": self.positive_scores, "negatives": self.negative_scores}
        names["hardest negative / lowest positive"] = self.hardest
        lines += [f"  {name}: {_row(values)}" for name, values in names.items() if values]
        if self.without:
            fate = "kept, with no negative of their own" if options.empty == "keep" else "dropped"
            because = ", ".join(
                f"{count} {reason}" for reason, count in self.counts.empty_by.most_common()
            )
            lines.append(
                f"  {self.without} rows without a negative were {fate}; mostly met: {because}"
            )
            lines += [f"    {' '.join(query.split())[:100]!r}" for query in self.without_shown]
        return lines


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Return quantiles by name, with "q50" for the median. Without values the result is empty."""
    if not values:
        return {}
    found = np.quantile(np.asarray(values, dtype=np.float64), QUANTILES)
    return {
        f"q{round(100 * level):02d}": round(float(value), 6)
        for level, value in zip(QUANTILES, found)
    }


def _row(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def _list(counts: dict[str, int]) -> str:
    there = [f"{count} {name}" for name, count in counts.items() if count]
    return f" ({', '.join(there)} left out)" if there else ""
