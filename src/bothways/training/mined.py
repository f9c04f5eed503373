"""Hard negatives for labelled rows that bring none, found by BM25 when the data is read.

What is mined and why is `bothways.data.mining`'s business. It stands apart from `refresh`, which asks the model in training: this is
what a stage without in-batch negatives (NV-Embed's second, arXiv 2405.17428) needs before its first step, and no model is at hand then.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field, model_validator

from bothways.config import Strict
from bothways.data.beir import is_beir
from bothways.data.examples import Example
from bothways.data.mining.mine import mine_with
from bothways.data.mining.options import MiningOptions
from bothways.errors import InputError

log = logging.getLogger("bothways")


class MineConfig(Strict):
    """BM25's negatives for rows without any; see `bothways.data.mining.MiningOptions` for the options."""

    negatives: int = Field(default=7, ge=1, description="per row at most; NV-Embed trains with 7")
    window: tuple[int, int] = Field(default=(1, 100), description="first and last rank looked at, known answers not counted")
    perc: float | None = Field(
        default=0.95,
        description="share of the lowest positive's BM25 score that a negative stays below; null for no such limit",
    )
    corpus: str | None = Field(
        default=None,
        description="where negatives come from; null: a BEIR folder's corpus, else the rows' own texts, task by task",
    )

    @model_validator(mode="after")
    def _usable(self) -> MineConfig:
        try:
            self.options()
        except InputError as error:
            raise ValueError(str(error)) from None
        return self

    def options(self) -> MiningOptions:
        """The same for `bothways.data.mining`."""
        return MiningOptions(method="bm25", negatives=self.negatives, window=self.window, perc=self.perc)


def fill(rows: Sequence[Example], config: MineConfig, source: str | None = None) -> list[Example]:
    """The rows in their order; those that have negatives are as they were, and those for which nothing passes stay without.

    Args:
        rows: of one source.
        config: what may become a negative.
        source: where the rows come from; a BEIR folder brings a corpus of its own.

    Raises:
        InputError: no text to search in.
        MissingExtra: bm25s is not installed.
    """
    bare = {number for number, row in enumerate(rows) if not row.negatives}
    if not bare:
        return list(rows)
    corpus = config.corpus or (source if source is not None and is_beir(source) else None)
    mined = mine_with(rows, corpus, config.options(), only=bare).examples
    log.info(
        "%s: BM25 gave negatives to %d of the %d rows that brought none; %d stay without, for want of any that passes",
        source or "rows in memory",
        sum(bool(mined[number].negatives) for number in bare),
        len(bare),
        sum(not mined[number].negatives for number in bare),
    )
    # BM25's scores are no teacher's
    return [
        replace(row, negatives=mined[number].negatives, negative_scores=None) if number in bare else row
        for number, row in enumerate(rows)
    ]
