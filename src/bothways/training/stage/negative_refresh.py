"""A stage's negatives mined anew with the model in training: the choices, and the step at which they happen.

What is mined and why is `bothways.mining`'s business (ANCE, arXiv 2007.00808); here it meets the stage. One process mines, the others
read its file, so that all train on the same rows; they wait for it, so a launcher's timeout must allow for a refresh.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from pydantic import Field, model_validator

from bothways.config import Strict
from bothways.data.labeled.beir import is_beir
from bothways.data.labeled.example import Example
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.mining.options import MiningOptions, Sampling
from bothways.mining.refresher import Refresher
from bothways.search.dense import Backend

log = logging.getLogger("bothways")

#: The rows of the last refresh: in the stage's checkpoint folder while it runs, and in each checkpoint after one.
FILE = "examples.jsonl"


class RefreshConfig(Strict):
    """Hard negatives replaced every so many steps; see `bothways.mining.MiningOptions` for the options."""

    every: int = Field(ge=1, description="optimiser steps between refreshes; none after the last step")
    method: str = Field(default="dense", description="dense, or hybrid (BM25 as well)")
    negatives: int = Field(default=7, ge=1, description="per row; a row for which nothing passes keeps those it has")
    window: tuple[int, int] = Field(default=(1, 100), description="first and last rank looked at, known answers not counted")
    perc: float | None = Field(default=0.95, description="share of the lowest positive's score; null for no such limit")
    margin: float | None = Field(default=None, description="distance below the lowest positive's score")
    relative_margin: float | None = Field(default=None, description="0.05 is perc 0.95")
    max_score: float | None = Field(default=None, description="absolute limit")
    sampling: Sampling = Field(default="top", description="top or random, drawn anew at each refresh")
    same_label: bool = Field(default=True, description="texts of one task and label are no negatives of each other")
    corpus: str | None = Field(
        default=None,
        description="where negatives come from; null: a BEIR folder's corpus where that is the only source, else the rows' own texts",
    )
    backend: Backend = Field(default="exact", description="exact or faiss")
    batch_tokens: int | None = Field(default=None, ge=1, description="tokens per pass; chosen for the device")

    @model_validator(mode="after")
    def _usable(self) -> RefreshConfig:
        if self.method not in ("dense", "hybrid"):
            raise ValueError("method: a refresh asks the model in training: dense or hybrid")
        try:
            self.options(seed=0)
        except InputError as error:
            raise ValueError(str(error)) from None
        return self

    def options(self, *, seed: int) -> MiningOptions:
        """The same for `bothways.mining`."""
        others = {"every", "corpus", "batch_tokens"}
        return MiningOptions(seed=seed, **{key: getattr(self, key) for key in type(self).model_fields if key not in others})

    def build(self, examples: Sequence[Example], *, seed: int, sources: Sequence[str] = ()) -> Refresher:
        """For the rows of a stage, and where they were read from."""
        own = sources[0] if len(sources) == 1 and is_beir(sources[0]) else None
        return Refresher(
            examples,
            every=self.every,
            options=self.options(seed=seed),
            corpus=self.corpus or own,
            batch_tokens=self.batch_tokens,
        )


def refresh(refresher: Refresher, step: int, encoder: Encoder, accelerator: Accelerator, folder: Path) -> dict[str, Any]:
    """Mine after `step`, on every process alike; numbers for the log, on the main process."""
    values: dict[str, Any] = {}
    if accelerator.is_main_process:
        before = refresher.examples
        # `encode` switches to evaluation mode and back; an adapter that is attached takes part
        statistics = refresher(step, encoder)
        changed = sum(old.negatives != new.negatives for old, new in zip(before, refresher.examples))
        log.info(
            "step %d: negatives mined anew for %d of %d rows (%d kept theirs, for want of any that passes)",
            step,
            changed,
            statistics.rows,
            statistics.without,
        )
        median = {
            side: scores.get("q50")
            for side, scores in (
                ("positive", statistics.positive_scores),
                ("negative", statistics.negative_scores),
            )
        }
        values = {"refreshed": changed} | {f"{side}_score": value for side, value in median.items() if value is not None}
        if accelerator.num_processes > 1:
            refresher.write(folder / FILE)
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        refresher.read(folder / FILE)
    return values
