"""Mines a stage's negatives again with the model in training, every so many steps.

How mining works is in `bothways.mining` (ANCE, arXiv 2007.00808). One process mines, and the others
wait and read its file, so all train on the same rows. A launcher's timeout must allow for this. If
the model is split over the processes, all of them mine, and take over the main process's rows.
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

FILE = "examples.jsonl"
"""The rows of the last refresh. The file is in the stage's checkpoint folder during a refresh, and
in each checkpoint after one."""


class RefreshConfig(Strict):
    """Hard negatives replaced every so many steps. See `bothways.mining.MiningOptions`."""

    every: int = Field(
        ge=1, description="optimizer steps between refreshes; none after the last step"
    )
    method: str = Field(default="dense", description="dense, or hybrid (BM25 as well)")
    negatives: int = Field(
        default=7, ge=1, description="per row; a row keeps its own if no candidate passes"
    )
    window: tuple[int, int] = Field(
        default=(1, 100), description="first and last rank considered, known answers not counted"
    )
    perc: float | None = Field(
        default=0.95,
        description="a negative scores below this share of the lowest positive's score; null for no such limit",
    )
    margin: float | None = Field(
        default=None, description="a negative scores at least this much below the lowest positive"
    )
    relative_margin: float | None = Field(
        default=None, description="the same as perc, counted from 1: 0.05 is perc 0.95"
    )
    max_score: float | None = Field(
        default=None, description="absolute limit of a negative's score"
    )
    sampling: Sampling = Field(
        default="top", description="top, or random, drawn again at each refresh"
    )
    same_label: bool = Field(
        default=True, description="texts of one task and label are not negatives of each other"
    )
    corpus: str | None = Field(
        default=None,
        description="file or folder of texts to choose negatives from; null: the corpus of a BEIR folder "
        "if that is the only source, "
        "else the rows' own texts",
    )
    backend: Backend = Field(default="exact", description="exact or faiss")
    batch_tokens: int | None = Field(
        default=None, ge=1, description="tokens per pass; null: chosen for the device"
    )

    @model_validator(mode="after")
    def _usable(self) -> RefreshConfig:
        if self.method not in ("dense", "hybrid"):
            raise ValueError("method: a refresh asks the model in training; use dense or hybrid")
        try:
            self.options(seed=0)
        except InputError as error:
            raise ValueError(str(error)) from None
        return self

    def options(self, *, seed: int) -> MiningOptions:
        """Return the same choices for `bothways.mining`."""
        others = {"every", "corpus", "batch_tokens"}
        return MiningOptions(
            seed=seed,
            **{key: getattr(self, key) for key in type(self).model_fields if key not in others},
        )

    def build(
        self, examples: Sequence[Example], *, seed: int, sources: Sequence[str] = ()
    ) -> Refresher:
        """Build the refresher of a stage.

        Args:
            examples: rows of the stage.
            seed: seed of random choices.
            sources: names that the rows were read from. If the only one is a BEIR folder, its
                corpus is used.
        """
        own = sources[0] if len(sources) == 1 and is_beir(sources[0]) else None
        return Refresher(
            examples,
            every=self.every,
            options=self.options(seed=seed),
            corpus=self.corpus or own,
            batch_tokens=self.batch_tokens,
        )


def refresh(
    refresher: Refresher,
    step: int,
    encoder: Encoder,
    accelerator: Accelerator,
    folder: Path,
    *,
    sharded: bool = False,
) -> dict[str, Any]:
    """Mine after `step`. All processes must call this.

    Args:
        refresher: holds the rows, and gets the new ones.
        step: number of steps taken.
        encoder: the model in training.
        accelerator: the run's processes.
        folder: for the file that the other processes read.
        sharded: the model is split over the processes, so all of them must run it.

    Returns:
        On the main process, the number of changed rows and median scores. On the others, nothing.
    """
    values: dict[str, Any] = {}
    if accelerator.is_main_process:
        before = refresher.examples
        # `encode` switches to evaluation mode and back. It uses an attached adapter.
        statistics = refresher(step, encoder)
        changed = sum(
            old.negatives != new.negatives for old, new in zip(before, refresher.examples)
        )
        log.info(
            "step %d: new negatives for %d of %d rows (%d rows keep theirs, because no candidate passed the filters)",
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
        values = {"refreshed": changed} | {
            f"{side}_score": value for side, value in median.items() if value is not None
        }
        if accelerator.num_processes > 1:
            refresher.write(folder / FILE)
    elif sharded:
        refresher(step, encoder)  # for its passes; the rows are those of the main process
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        refresher.read(folder / FILE)
    return values
