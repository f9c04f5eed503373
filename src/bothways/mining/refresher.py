"""Negatives mined anew with the model in training, every so many steps (ANCE, Xiong et al. 2020, arXiv 2007.00808).

Negatives that were hard for the model before training are easy ones soon. ANCE refreshes its index beside the training; here training
waits, so that the negatives of a step depend on nothing but the weights at the last refresh, and a resumed run equals an uninterrupted
one. The present rows are written beside each checkpoint and read from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bothways.data.conversion.converted import write_examples
from bothways.data.labeled.example import Example
from bothways.data.rows import LONE_SURROGATE, iter_rows
from bothways.errors import InputError
from bothways.mining.group import Prompting
from bothways.mining.mine import mine_with
from bothways.mining.options import MiningOptions
from bothways.mining.statistics import Statistics
from bothways.search.vectors import Vectors


class Refresher:
    """Holds the rows of a training and replaces their negatives.

    Attributes:
        examples: the rows as they are now, always as many and in the same order.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        every: int,
        options: MiningOptions,
        corpus: Sequence[str] | str | Path | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        """Plan the refreshes.

        Args:
            examples: the rows as training begins.
            every: n, steps between refreshes.
            options: "dense" or "hybrid"; `seed` is combined with the step.
            corpus: as in `mine`.
            batch_tokens: tokens per pass of the encoder.

        Raises:
            InputError: `every` below 1, a method that asks no model, or a text that no file can hold.
        """
        if every < 1:
            raise InputError(f"every: {every} steps; expected at least 1")
        if options.method == "bm25":
            raise InputError("method: 'bm25' finds the same at every step; a refresh is dense or hybrid")
        self.examples = list(examples)
        # mined from what training began with: a document that no row holds any more must not be lost to the next refresh
        self._start = tuple(self.examples)
        for number, row in enumerate(self.examples):
            if any(LONE_SURROGATE.search(text) for text in (row.query, *row.positives, *row.negatives)):
                raise InputError(f"examples[{number}]: a lone surrogate, which no checkpoint can hold; repair the text")
        # a row that is left without negatives keeps those it has, so none is ever dropped
        self.options, self.corpus = replace(options, empty="keep"), corpus
        self.every, self.batch_tokens = every, batch_tokens

    def due(self, step: int) -> bool:
        """Whether rows are refreshed after optimiser step `step`, counted from 1."""
        return step > 0 and step % self.every == 0

    def __call__(self, step: int, encoder: Any, *, progress: bool | None = None) -> Statistics:
        """Mine with the model as it is; rows for which nothing passes keep their negatives.

        Args:
            step: optimiser steps taken; with the options' seed it decides random draws.
            encoder: the model in evaluation mode: anything that `mine` takes. A row without a prompt
                takes the encoder's, as in training.
            progress: as in `mine`.
        """
        mined = mine_with(
            self._start,
            self.corpus,
            replace(self.options, seed=f"{self.options.seed}:{step}"),
            encoder=Vectors(encoder, batch_tokens=self.batch_tokens),
            prompting=Prompting(),
            progress=progress,
        )
        # the scores are the model's in training, and a model is not its own teacher
        self.examples = [
            replace(old, negatives=new.negatives, negative_scores=None, negative_labels=None) if new.negatives else old
            for new, old in zip(mined.examples, self.examples)
        ]
        return mined.statistics

    def write(self, path: str | Path) -> None:
        """Write the rows as they are now, as a .jsonl that `read_examples` knows."""
        write_examples(self.examples, path)

    def read(self, path: str | Path) -> None:
        """Take the negatives that `write` has written; every other field stays.

        Raises:
            InputError: the file holds other rows.
        """
        rows = [row for _, row in iter_rows(path)]
        same = len(rows) == len(self.examples) and all(
            row.get("query") == example.query and row.get("pos") == list(example.positives)
            for row, example in zip(rows, self.examples)
        )
        if not same:
            raise InputError(
                f"{path}: holds other rows than this run trains on; restore the data, or train into another folder"
            )
        self.examples = [
            replace(
                example,
                negatives=tuple(row["neg"]),
                negative_scores=tuple(row["neg_scores"]) if "neg_scores" in row else None,
                positive_scores=tuple(row["pos_scores"]) if "pos_scores" in row else None,
                negative_labels=tuple(map(tuple, row["neg_labels"])) if "neg_labels" in row else None,
            )
            for row, example in zip(rows, self.examples)
        ]
