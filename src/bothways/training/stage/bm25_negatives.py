"""Mines BM25 hard negatives for labeled rows that have none, while the data is read.

A stage without in-batch negatives (NV-Embed's second, arXiv 2405.17428) needs them before its first
step, when no trained model exists yet. `negative_refresh` asks the model in training instead. How
mining works is in `bothways.mining`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pydantic import Field, model_validator

from bothways.config import Strict
from bothways.data.labeled.beir import is_beir
from bothways.data.labeled.example import Example
from bothways.errors import InputError
from bothways.mining.mine import MiningSetup, mine_with
from bothways.mining.options import WINDOW, Fill, MiningOptions

log = logging.getLogger("bothways")


class MineConfig(Strict):
    """BM25 negatives for rows without any; see `bothways.mining.MiningOptions` for the options."""

    negatives: int = Field(default=7, ge=1, description="per row at most; NV-Embed trains with 7")
    window: tuple[int, int] = Field(
        default=WINDOW["bm25"],
        description="first and last rank considered, known answers not counted; skipping the first ranks "
        "avoids unknown answers",
    )
    perc: float | None = Field(
        default=None,
        description="a negative scores below this share of the lowest positive's BM25 score; null for no "
        "such limit, because an "
        "answer in other words than its query scores near zero",
    )
    fill: Fill = Field(
        default="random",
        description="random: add random texts of the same corpus if fewer pass than are wanted; none: add nothing",
    )
    corpus: str | None = Field(
        default=None,
        description="file or folder of texts to choose negatives from; null: a BEIR folder's corpus, else "
        "the rows' own texts, task by task",
    )

    @model_validator(mode="after")
    def _usable(self) -> MineConfig:
        try:
            self.options()
        except InputError as error:
            raise ValueError(str(error)) from None
        return self

    def options(self) -> MiningOptions:
        """Return the same choices for `bothways.mining`."""
        return MiningOptions(
            method="bm25",
            negatives=self.negatives,
            window=self.window,
            perc=self.perc,
            fill=self.fill,
        )


def fill(rows: Sequence[Example], config: MineConfig, source: str | None = None) -> list[Example]:
    """Mine BM25 negatives for rows that have none. Other rows stay as they are, in their order.

    If fewer texts pass than are wanted, the row gets random texts of its corpus. It stays without
    only if every text is a known answer.

    Args:
        rows: rows of one source.
        config: which texts may become a negative.
        source: where the rows come from. A BEIR folder has its own corpus. If None, they come from
            memory.

    Raises:
        InputError: if there is no text to search in.
        MissingExtra: if bm25s is not installed.
    """
    bare = {number for number, row in enumerate(rows) if not row.negatives}
    if not bare:
        return list(rows)
    corpus = config.corpus or (source if source is not None and is_beir(source) else None)
    mined = mine_with(rows, corpus, config.options(), MiningSetup(only=bare)).examples
    log.info(
        "%s: BM25 added negatives to %d of %d rows that had none; %d rows are still without, because no "
        "text may be their negative",
        source or "rows in memory",
        sum(bool(mined[number].negatives) for number in bare),
        len(bare),
        sum(not mined[number].negatives for number in bare),
    )
    return mined
