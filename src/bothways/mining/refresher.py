"""Negatives that are mined again with the model in training, every n steps.

This is ANCE (Xiong et al. 2020, arXiv 2007.00808). Negatives that were hard for the model before
training soon are easy. ANCE refreshes its index in parallel with training. Here training waits, so
that the negatives of a step depend only on the weights at the last refresh, and a resumed run
equals an uninterrupted one. The present rows are written next to each checkpoint and read from
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bothways.data.conversion.converted import write_examples
from bothways.data.labeled.example import Example
from bothways.data.rows import LONE_SURROGATE, iter_rows
from bothways.errors import InputError
from bothways.mining.mine import MiningSetup, mine_with
from bothways.mining.options import MiningOptions
from bothways.mining.statistics import Statistics
from bothways.search.vectors import AnyEncoder, Vectors


class Refresher:
    """The rows of a training, with negatives that can be replaced.

    Attributes:
        examples: the present rows, always in the same number and order.
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
            examples: the rows at the start of training.
            every: steps between refreshes.
            options: "dense" or "hybrid". `seed` is combined with the step.
            corpus: see `mine`.
            batch_tokens: tokens per pass of the encoder.

        Raises:
            InputError: if `every` is below 1, if the method does not use a model, or if a text
                cannot be written to a file.
        """
        if every < 1:
            raise InputError(f"every: must be at least 1 step (got {every})")
        if options.method == "bm25":
            raise InputError(
                "method: 'bm25' finds the same negatives at every step; use dense or hybrid for a refresh"
            )
        self.examples = list(examples)
        # Every refresh mines from the rows at the start, so that later ones lose no document.
        self._start = tuple(self.examples)
        for number, row in enumerate(self.examples):
            if any(
                LONE_SURROGATE.search(text) for text in (row.query, *row.positives, *row.negatives)
            ):
                raise InputError(
                    f"examples[{number}]: a lone surrogate, which cannot be written to a checkpoint; repair the text"
                )
        # a row that finds no negatives keeps those it has, so rows are never dropped
        self.options, self.corpus = replace(options, empty="keep"), corpus
        self.every, self.batch_tokens = every, batch_tokens

    def due(self, step: int) -> bool:
        """Return whether rows are refreshed after optimizer step `step`, counted from 1."""
        return step > 0 and step % self.every == 0

    def __call__(
        self, step: int, encoder: AnyEncoder, *, progress: bool | None = None
    ) -> Statistics:
        """Mine with the present model. Rows for which nothing passes keep their negatives.

        Args:
            step: optimizer steps taken. Random draws depend on it and on the options' seed.
            encoder: the model in evaluation mode, anything that `mine` accepts. A row without a
                prompt uses the encoder's, as in training.
            progress: see `mine`.
        """
        mined = mine_with(
            self._start,
            self.corpus,
            replace(self.options, seed=f"{self.options.seed}:{step}"),
            MiningSetup(
                encoder=Vectors(
                    encoder, batch_tokens=self.batch_tokens, similarity=self.options.similarity
                ),
                progress=progress,
            ),
        )
        # the scores are those of the model in training, which is not its own teacher
        self.examples = [
            replace(old, negatives=new.negatives, negative_scores=None, negative_labels=None)
            if new.negatives
            else old
            for new, old in zip(mined.examples, self.examples)
        ]
        return mined.statistics

    def write(self, path: str | Path) -> None:
        """Write the present rows as a .jsonl file that `read_examples` can read."""
        write_examples(self.examples, path)

    def read(self, path: str | Path) -> None:
        """Take the negatives from a file that `write` has written. All other fields stay.

        Raises:
            InputError: if the file holds other rows.
        """
        rows = [row for _, row in iter_rows(path)]
        same = len(rows) == len(self.examples) and all(
            row.get("query") == example.query and row.get("pos") == list(example.positives)
            for row, example in zip(rows, self.examples)
        )
        if not same:
            raise InputError(
                f"{path}: its rows differ from the training data; restore the data, or train into another folder"
            )
        self.examples = [
            replace(
                example,
                negatives=tuple(row["neg"]),
                negative_scores=tuple(row["neg_scores"]) if "neg_scores" in row else None,
                positive_scores=tuple(row["pos_scores"]) if "pos_scores" in row else None,
                negative_labels=tuple(map(tuple, row["neg_labels"]))
                if "neg_labels" in row
                else None,
            )
            for row, example in zip(rows, self.examples)
        ]
