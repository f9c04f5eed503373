"""Hard negatives for labelled rows that bring none, found by BM25 when the data is read.

What is mined and why is `bothways.mining`'s business. It stands apart from `negative_refresh`, which asks the model in training: this is
what a stage without in-batch negatives (NV-Embed's second, arXiv 2405.17428) needs before its first step, and no model is at hand then.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pydantic import Field, model_validator

from bothways.config import Strict
from bothways.data.labeled.beir import is_beir
from bothways.data.labeled.example import Example
from bothways.errors import InputError
from bothways.mining.mine import mine_with
from bothways.mining.options import WINDOW, Fill, MiningOptions

log = logging.getLogger("bothways")


class MineConfig(Strict):
    """BM25's negatives for rows without any; see `bothways.mining.MiningOptions` for the options."""

    negatives: int = Field(default=7, ge=1, description="per row at most; NV-Embed trains with 7")
    window: tuple[int, int] = Field(
        default=WINDOW["bm25"], description="first and last rank looked at, known answers not counted; the first guards"
    )
    perc: float | None = Field(
        default=None,
        description="share of the lowest positive's BM25 score that a negative stays below; null for no such limit, since an "
        "answer in other words than its query's scores near zero",
    )
    fill: Fill = Field(
        default="random", description="random texts of the same corpus where fewer pass than are wanted, or none"
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
        """The same for `bothways.mining`."""
        return MiningOptions(method="bm25", negatives=self.negatives, window=self.window, perc=self.perc, fill=self.fill)


def fill(rows: Sequence[Example], config: MineConfig, source: str | None = None) -> list[Example]:
    """Mine BM25's negatives for rows that have none; rows that have some stay as they are, in their order.

    A row for which fewer pass than are wanted gets random texts of its corpus. It stays without only if every text is a known answer.

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
        "%s: BM25 gave negatives to %d of the %d rows that brought none; %d stay without, since nothing may be their negative",
        source or "rows in memory",
        sum(bool(mined[number].negatives) for number in bare),
        len(bare),
        sum(not mined[number].negatives for number in bare),
    )
    return mined
