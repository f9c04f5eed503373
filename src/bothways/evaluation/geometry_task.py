"""The geometry of an encoder on a pair file, as SimCSE reports it on STS-B: pairs for alignment, sentences for the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bothways.errors import InputError
from bothways.evaluation import geometry
from bothways.evaluation.data import GoldPairs, gold_pairs
from bothways.evaluation.encoding import encode_texts, normalise
from bothways.evaluation.registry import require_argument
from bothways.evaluation.task import RunOptions, Score, Task

# enough that the standard error of a mean of cosines (deviation below 0.3) is under 0.003
_RANDOM_PAIRS = 10_000


class Geometry(Task):
    """Alignment, uniformity, mean cosine (exact and of random pairs), effective rank; the spectrum is in the details.

    These describe and do not rank: an encoder can be perfectly uniform and know nothing.
    """

    kind = "geometry"
    main = "uniformity"
    higher_is_better = False

    def __init__(self, path: str | Path, *, positive_above: float = 4.0, name: str | None = None) -> None:
        """Read the pairs.

        Args:
            path: a pair file, or a folder that holds test.jsonl[.gz].
            positive_above: pairs with gold above it are the positives of alignment; 4 on the scale of 0 to 5, as SimCSE has it.
            name: what results call the task; `geometry:PATH` by default.

        Raises:
            InputError: the file cannot be read as pairs, or no pair has so high a score.
        """
        self.pairs: GoldPairs = gold_pairs(path)
        if not (self.pairs.gold > positive_above).any():
            highest = float(self.pairs.gold.max())
            raise InputError(
                f"{self.pairs.source}: alignment needs pairs with score > {positive_above:g} (of 5); the highest is {highest:g}"
            )
        self.positive_above = positive_above
        self.name = name or f"geometry:{path}"
        self.fingerprint = self.pairs.fingerprint

    @classmethod
    def from_argument(cls, argument: str | None) -> Geometry:
        """`geometry:PATH`."""
        return cls(require_argument(argument, "geometry"))

    def run(self, encoder: Any, options: RunOptions) -> Score:
        """Encode each distinct sentence once and measure. See `Task.run`."""
        pairs = self.pairs
        row_of = {text: row for row, text in enumerate(dict.fromkeys(pairs.first + pairs.second))}
        vectors = normalise(encode_texts(encoder, list(row_of), options).astype(np.float64))
        positive = np.flatnonzero(pairs.gold > self.positive_above)
        first = vectors[[row_of[pairs.first[i]] for i in positive]]
        second = vectors[[row_of[pairs.second[i]] for i in positive]]
        generator = np.random.default_rng(options.seed)
        metrics = {
            "alignment": geometry.alignment(first, second),
            "uniformity": geometry.uniformity(vectors),
            "mean_cosine": geometry.mean_cosine(vectors),
            "mean_cosine_random": geometry.mean_cosine_of_random_pairs(vectors, _RANDOM_PAIRS, generator),
            "effective_rank": geometry.effective_rank(vectors),
        }
        spectrum = [round(float(value), 6) for value in geometry.spectrum(vectors)]
        return Score(metrics, {"sentences": len(vectors), "positive_pairs": len(positive), "spectrum": spectrum})
