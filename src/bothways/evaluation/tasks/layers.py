"""Cosines of a model's causal and bidirectional states, by layer and token, as a task.

The result is one heatmap, and means over several texts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bothways.data.fingerprint import fingerprint_texts
from bothways.data.text.readers import read_texts
from bothways.evaluation.probing.layer_cosines import row_cosines
from bothways.evaluation.probing.token_passes import token_encoder
from bothways.evaluation.registry import require_argument
from bothways.evaluation.task import RunOptions, Score, Task
from bothways.progress import Progress

if TYPE_CHECKING:
    from bothways.search.vectors import AnyEncoder

TEXTS = 32
"""Number of texts that are read by default.

The longest of so many lines of Wikipedia is a paragraph and not a heading.
"""


class Layers(Task):
    """Mean cosine (main) of causal and bidirectional states over all tokens and layers, in [-1, 1].

    The metrics also hold the mean of the first and of the last layer. They describe a base model,
    or how far training has taken an encoder from its base. They do not rank.
    """

    kind = "layers"
    main = "mean_cosine"
    higher_is_better = False

    def __init__(self, source: str | Path, *, limit: int = TEXTS, name: str | None = None) -> None:
        """Read the texts.

        Args:
            source: a text file, or any other source of training texts.
            limit: number of texts to read, from the start.
            name: name of the task in results. If None, `layers:SOURCE`.

        Raises:
            InputError: see `read_texts`.
            SourceError: see `read_texts`.
        """
        self.texts = read_texts(source, limit=limit, splits="held_out")
        self.name = name or f"layers:{source}"
        self.settings = {"limit": limit}
        self.fingerprint = fingerprint_texts(self.texts)

    @classmethod
    def from_argument(cls, argument: str | None, *, limit: int = TEXTS) -> Layers:
        """Make the task from `layers:TEXTFILE`, for example `layers:articles.txt?limit=8`."""
        return cls(require_argument(argument, "layers"), limit=limit)

    def run(self, encoder: AnyEncoder, options: RunOptions) -> Score:
        """Run every text in both directions. See `Task.run`.

        The details hold the `heatmap` of the longest text (layers × tokens) with its `tokens` as
        they are written in the text. They also hold `layers`, the mean cosine of each layer over
        the tokens of all texts.
        """
        model = token_encoder(encoder, "layers")
        rows = model.tokenize(self.texts)
        found: list[np.ndarray] = []
        with Progress("layers", len(rows), "texts", show=options.show_progress_bar) as bar:
            for row in rows:
                found.append(row_cosines(model, row))
                bar.advance()
        per_layer = np.concatenate(found, axis=1).mean(axis=1)
        longest = max(range(len(rows)), key=lambda number: len(rows[number].ids))
        text = self.texts[longest]
        special = [model.tokenizer.convert_ids_to_tokens(token) for token in rows[longest].ids]
        metrics = {
            "mean_cosine": float(per_layer.mean()),
            "first_layer": float(per_layer[0]),
            "last_layer": float(per_layer[-1]),
        }
        details = {
            "texts": len(rows),
            "layers": per_layer.round(6).tolist(),
            "heatmap": found[longest].round(4).tolist(),
            "tokens": [
                text[a:b] if a < b else special[i] for i, (a, b) in enumerate(rows[longest].offsets)
            ],
        }
        return Score(metrics, details)
