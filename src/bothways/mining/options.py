"""All options of mining, checked in one place.

The function, the command line and the refresh during training share them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from bothways.errors import InputError
from bothways.nearest import meant
from bothways.search.dense import Backend
from bothways.search.vector_shards import Store
from bothways.similarity_names import Similarity, check_similarity

Method = Literal["bm25", "dense", "hybrid"]
Sampling = Literal["top", "random"]
Empty = Literal["keep", "drop"]
Fill = Literal["random", "none"]

WINDOW = {"bm25": (2, 100), "dense": (1, 100), "hybrid": (1, 100)}
"""First and last rank by method.

BM25's first rank is left out, because it has no limit on scores, see `MiningOptions.perc`.
"""
PERC = {"bm25": None, "dense": 0.95, "hybrid": 0.95}
"""Limit by method, as a share of the answer's score.

For cosines it is that of NV-Retriever (arXiv 2407.15831). BM25 has none.
"""
FILL: dict[str, Fill] = {"bm25": "random", "dense": "none", "hybrid": "none"}
"""How a row is filled up if fewer documents pass than wanted, by method."""

_DEEPEST = 100_000  # ranks of one query, 12 bytes each


@dataclass(frozen=True)
class MiningOptions:
    """Options of mining.

    The score of a negative must be below every limit that is set. Limits are relative to the lowest
    score among a query's known answers, because a document that scores like the weakest of them may
    be an answer too. Scores are the encoder's similarity for "dense" and "hybrid" (cosines, unless
    it names another one), and BM25's own for "bm25". Limits are of the same kind.

    Attributes:
        method: "bm25", "dense" (by vectors), or "hybrid" (both rankings fused, see
            `candidates.py`).
        negatives: largest number of negatives for each query. NV-Embed (arXiv 2405.17428) trains
            with 7.
        window: first and last rank to consider, from 1, for example (2, 100). Ranks are counted
            without the query itself and its known answers, because their number differs from query
            to query. A first rank above 1 guards against answers that nobody labeled. "auto" is (2,
            100) for "bm25", which has no other guard, and (1, 100) otherwise, with `perc` as the
            guard. Both are choices of this project.
        perc: share of the answer's score that a negative must stay below (TopK-PercPos,
            NV-Retriever, arXiv 2407.15831). A share of a negative score would be above it, so the
            same distance is subtracted instead. If None, there is no such limit. "auto" is 0.95 for
            cosines, and None for "bm25": an answer that shares few words with its query scores near
            zero, so a share of that score would leave the row without any negative (467 of
            python-stdlib's 3,197 rows).
        margin: absolute distance below the answer's score (TopK-MarginPos in the same paper). If
            None, there is no such limit.
        relative_margin: `perc` as sentence-transformers writes it, 0.05 for 0.95. If both are set,
            the lower limit counts. If None, there is no such limit.
        max_score: absolute limit. If None, there is no such limit.
        sampling: "top" takes the hardest documents that pass. "random" draws among all that pass,
            by `seed` and the number of the row.
        seed: seed of random sampling and of the printed sample.
        fill: "random" fills a row up with random documents of the same corpus if too few documents
            pass. Known answers and limits still count. "none" leaves the row with fewer. "auto" is
            "random" for "bm25", which does not rank documents that share no word with the query,
            and "none" otherwise. A row that would still have none takes documents ranked above the
            window.
        empty: "keep" keeps rows that are left without a negative (in-batch negatives remain),
            "drop" drops them.
        same_label: if True, texts of rows of the same task and label never become each other's
            negatives.
        similarity: how vectors are compared. If None, as the encoder says.
        backend: backend of dense search, "exact" or "faiss".
        store: type of vectors on disk.
    """

    method: Method = "bm25"
    negatives: int = 7
    window: tuple[int, int] | Literal["auto"] = "auto"
    perc: float | Literal["auto"] | None = "auto"
    margin: float | None = None
    relative_margin: float | None = None
    max_score: float | None = None
    sampling: Sampling = "top"
    seed: int | str = 0
    fill: Fill | Literal["auto"] = "auto"
    empty: Empty = "keep"
    same_label: bool = True
    similarity: Similarity | None = None
    backend: Backend = "exact"
    store: Store = "float32"

    def __post_init__(self) -> None:
        """Set the defaults of the method, and check every value.

        Raises:
            InputError: if an option is out of its range. The error names the option.
        """
        choices: dict[str, Any] = {
            "method": Method,
            "sampling": Sampling,
            "empty": Empty,
            "backend": Backend,
            "store": Store,
        }
        for name, kind in choices.items():
            if getattr(self, name) not in get_args(kind):
                hint = meant(getattr(self, name), get_args(kind))
                raise InputError(
                    f"{name}: {getattr(self, name)!r}; {hint}expected one of {', '.join(get_args(kind))}"
                )
        if check_similarity(self.similarity) and self.method == "bm25":
            raise InputError(
                "similarity: bm25 ranks by words; leave it out, or use method dense or hybrid"
            )
        for name, default in (("window", WINDOW), ("perc", PERC), ("fill", FILL)):
            if getattr(self, name) == "auto":
                object.__setattr__(self, name, default[self.method])
        if self.fill not in get_args(Fill):
            raise InputError(
                f"fill: {self.fill!r}; {meant(self.fill, get_args(Fill))}expected one of {', '.join(get_args(Fill))}"
            )
        self._check_numbers()

    def _check_numbers(self) -> None:
        """Raise InputError for a number that is out of its range."""
        if self.negatives < 1:
            raise InputError(f"negatives: must be at least 1 (got {self.negatives})")
        first, last = self.ranks
        if not 1 <= first <= last <= _DEEPEST:
            raise InputError(
                f"window: {first}:{last}; expected FIRST:LAST with 1 <= FIRST <= LAST <= {_DEEPEST}"
            )
        if last - first + 1 < self.negatives:
            raise InputError(
                f"window: {first}:{last} has only {last - first + 1} ranks for {self.negatives} negatives; use a wider window"
            )
        for name, low, high in (("perc", 0, 1), ("margin", 0, math.inf), ("relative_margin", 0, 1)):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InputError(
                    f"{name}: {value:g}; expected a number from {low} to {high:g}, or none for no limit"
                )
        if self.max_score is not None and not math.isfinite(self.max_score):
            raise InputError(
                f"max_score: {self.max_score:g}; expected a number, or none for no limit"
            )

    @property
    def ranks(self) -> tuple[int, int]:
        """Return the window, with "auto" replaced."""
        return WINDOW[self.method] if self.window == "auto" else self.window

    @property
    def share(self) -> float | None:
        """Return `perc`, with "auto" replaced."""
        return PERC[self.method] if self.perc == "auto" else self.perc

    def limits(self) -> str:
        """Return the limits in words."""
        parts = []
        if self.share is not None:
            parts.append(f"below {self.share:g} of the lowest positive's score")
        if self.relative_margin is not None:
            parts.append(f"below {1 - self.relative_margin:g} of the lowest positive's score")
        if self.margin is not None:
            parts.append(f"{self.margin:g} below the lowest positive's score")
        if self.max_score is not None:
            parts.append(f"below {self.max_score:g}")
        return ", ".join(parts) or "no limit on scores"
