"""Every choice of mining, checked in one place: the function, the command line and the refresh in training share it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from bothways.errors import InputError
from bothways.search.dense import Backend
from bothways.search.shards import Store

Method = Literal["bm25", "dense", "hybrid"]
Sampling = Literal["top", "random"]
Empty = Literal["keep", "drop"]
Fill = Literal["random", "none"]

WINDOW = {"bm25": (2, 100), "dense": (1, 100), "hybrid": (1, 100)}
"""First and last rank by method. BM25's first rank is left out: no score guards it, see `MiningOptions.perc`."""
PERC = {"bm25": None, "dense": 0.95, "hybrid": 0.95}
"""Share of the answer's score by method: NV-Retriever's (arXiv 2407.15831) for cosines, none for BM25."""
FILL: dict[str, Fill] = {"bm25": "random", "dense": "none", "hybrid": "none"}
"""What a row gets where fewer documents pass than are wanted, by method."""

_DEEPEST = 100_000  # ranks; a query's take 12 bytes each


@dataclass(frozen=True)
class MiningOptions:
    """What is mined. A negative's score must lie below every limit that is set; to reach one is too much.

    Limits are relative to the lowest score among a query's known answers: what scores like the weakest of them may be one too.
    Scores are cosines for "dense" and "hybrid", BM25's own for "bm25", and the limits are of the same kind.

    Attributes:
        method: "bm25"; "dense", by cosine; "hybrid", both rankings fused, see `search.py`.
        negatives: kept for each query at most; NV-Embed (arXiv 2405.17428) trains with 7.
        window: first and last rank, from 1, that are looked at. Ranks are counted without the query itself and its known answers,
            whose number differs from query to query. A first rank above 1 guards against answers that nobody labeled. "auto" is
            2:100 for "bm25", where the window is the guard, and 1:100 otherwise, where `perc` is. Both are project choices.
        perc: share of the answer's score that a negative must stay below (TopK-PercPos, NV-Retriever, arXiv 2407.15831); None for
            no such limit. Of a score below zero, where a share would lie above it, the same distance is taken downwards. "auto" is
            0.95 for cosines, and None for "bm25": an answer that shares few words with its query scores near zero, so a share of
            that score would leave the row without any negative (467 of python-stdlib's 3,197 rows).
        margin: absolute distance below the answer's score (TopK-MarginPos there).
        relative_margin: `perc` as sentence-transformers writes it, 0.05 for 0.95; with both the lower limit holds.
        max_score: absolute limit.
        sampling: "top", the hardest; or "random" among all that pass, by `seed` and the row's number.
        seed: of random sampling and of the printed sample.
        fill: "random" gives a row for which fewer documents pass than are wanted random ones of the same corpus, which nothing
            has ruled out; "none" leaves it with fewer. "auto" is "random" for "bm25", which ranks nothing that shares no word with
            the query, and "none" otherwise. A row that would still have none takes documents ranked above the window.
        empty: rows that are left without a negative are kept (in-batch negatives remain) or dropped.
        same_label: keep the texts of rows of the same task and label away from each other.
        backend: of dense search, "exact" or "faiss".
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
    backend: Backend = "exact"
    store: Store = "float32"

    def __post_init__(self) -> None:
        """Settle what is left to the method, and check every value.

        Raises:
            InputError: one that is out of its range, by name.
        """
        choices = {"method": Method, "sampling": Sampling, "empty": Empty, "backend": Backend, "store": Store}
        for name, kind in choices.items():
            if getattr(self, name) not in get_args(kind):
                raise InputError(f"{name}: {getattr(self, name)!r}; expected one of {', '.join(get_args(kind))}")
        for name, default in (("window", WINDOW), ("perc", PERC), ("fill", FILL)):
            if getattr(self, name) == "auto":
                object.__setattr__(self, name, default[self.method])
        if self.fill not in get_args(Fill):
            raise InputError(f"fill: {self.fill!r}; expected one of {', '.join(get_args(Fill))}")
        if self.negatives < 1:
            raise InputError(f"negatives: {self.negatives}; expected at least 1")
        first, last = self.ranks
        if not 1 <= first <= last <= _DEEPEST:
            raise InputError(f"window: {first}:{last}; expected FIRST:LAST with 1 <= FIRST <= LAST <= {_DEEPEST}")
        if last - first + 1 < self.negatives:
            raise InputError(
                f"window: {first}:{last} has {last - first + 1} ranks, and {self.negatives} negatives are wanted; widen it"
            )
        for name, low, high in (("perc", 0, 1), ("margin", 0, math.inf), ("relative_margin", 0, 1)):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InputError(f"{name}: {value:g}; expected a number from {low} to {high:g}, or none for no such limit")
        if self.max_score is not None and not math.isfinite(self.max_score):
            raise InputError(f"max_score: {self.max_score:g}; expected a number, or none for no such limit")

    @property
    def ranks(self) -> tuple[int, int]:
        """The window, settled."""
        return WINDOW[self.method] if self.window == "auto" else self.window

    @property
    def share(self) -> float | None:
        """`perc`, settled."""
        return PERC[self.method] if self.perc == "auto" else self.perc

    def limits(self) -> str:
        """The limits, in words."""
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
