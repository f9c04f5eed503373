"""The geometry of an encoder on a pair file, as SimCSE reports it on STS-B.

Alignment is measured on the pairs with a high gold score, everything else on the distinct
sentences.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bothways.errors import InputError
from bothways.evaluation.inputs.named_data import GoldPairs, gold_pairs
from bothways.evaluation.measures import geometry
from bothways.evaluation.measures.densities import cosine_densities
from bothways.evaluation.registry import require_argument
from bothways.evaluation.task import RunOptions, Score, Task
from bothways.search.vectors import AnyEncoder, encode_texts
from bothways.similarity import unit

# With so many pairs the standard error of a mean of cosines (deviation below 0.3) is under 0.003.
_RANDOM_PAIRS = 10_000


class Geometry(Task):
    """Alignment, uniformity (main), mean cosine (exact and of random pairs) and effective rank.

    The details hold the spectrum (descending, the first value is 1) and the densities of the
    cosines by gold score, see `measures/densities.py`.

    These numbers describe an encoder. They do not rank it: an encoder can be perfectly uniform and
    know nothing.
    """

    kind = "geometry"
    main = "uniformity"
    higher_is_better = False

    def __init__(
        self,
        path: str | Path,
        *,
        positive_above: float = 4.0,
        split: str = "test",
        first: str | None = None,
        second: str | None = None,
        score: str | None = None,
        prompt: str | None = None,
        name: str | None = None,
    ) -> None:
        """Read the pairs.

        Args:
            path: a pair file, or a folder.
            positive_above: pairs with a gold score above it are the positives of alignment. The
                default is 4 on the scale from 0 to 5, as in SimCSE.
            split: the split of a folder.
            first: column of the first sentence. If None, it is found by its usual names.
            second: column of the second sentence. If None, it is found by its usual names.
            score: column of the gold score. If None, it is found by its usual names.
            prompt: instruction for all sentences, used instead of the encoder's own. "" means none.
            name: name of the task in results. If None, `geometry:PATH`.

        Raises:
            InputError: if the file cannot be read as pairs, or if no score is above
                `positive_above`.
        """
        self.pairs: GoldPairs = gold_pairs(
            path, split=split, first=first, second=second, score=score
        )
        if not (self.pairs.gold > positive_above).any():
            highest = float(self.pairs.gold.max())
            raise InputError(
                f"{self.pairs.source}: alignment needs pairs with score > {positive_above:g} (of 5); the highest is {highest:g}"
            )
        self.positive_above = positive_above
        self.prompt = prompt
        # Older results have no prompt among their settings, so an absent prompt is left out here.
        self.settings = {"positive_above": positive_above} | (
            {} if prompt is None else {"prompt": prompt}
        )
        self.name = name or f"geometry:{path}"
        self.fingerprint = self.pairs.fingerprint

    @classmethod
    def from_argument(
        cls,
        argument: str | None,
        *,
        positive_above: float = 4.0,
        split: str = "test",
        first: str | None = None,
        second: str | None = None,
        score: str | None = None,
        prompt: str | None = None,
    ) -> Geometry:
        """Make the task from `geometry:PATH`, for example `geometry:stsb?positive_above=3.5`.

        The options are those of `Geometry`.
        """
        path = require_argument(argument, "geometry")
        columns = {"first": first, "second": second, "score": score}
        return cls(path, positive_above=positive_above, split=split, **columns, prompt=prompt)

    def run(self, encoder: AnyEncoder, options: RunOptions) -> Score:
        """Encode each distinct sentence once and measure. See `Task.run`."""
        pairs = self.pairs
        row_of = {text: row for row, text in enumerate(dict.fromkeys(pairs.first + pairs.second))}
        vectors = unit(
            encode_texts(encoder, list(row_of), prompt=self.prompt, **options.encoding).astype(
                np.float64
            )
        )
        positive = np.flatnonzero(pairs.gold > self.positive_above)
        first = vectors[[row_of[text] for text in pairs.first]]
        second = vectors[[row_of[text] for text in pairs.second]]
        generator = np.random.default_rng(options.seed)
        metrics = {
            "alignment": geometry.alignment(first[positive], second[positive]),
            "uniformity": geometry.uniformity(vectors),
            "mean_cosine": geometry.mean_cosine(vectors),
            "mean_cosine_random": geometry.mean_cosine_of_random_pairs(
                vectors, _RANDOM_PAIRS, generator
            ),
            "effective_rank": geometry.effective_rank(vectors),
        }
        spectrum = [round(float(value), 6) for value in geometry.spectrum(vectors)]
        details = {
            "sentences": len(vectors),
            "positive_pairs": len(positive),
            "spectrum": spectrum,
            "densities": cosine_densities(np.einsum("nd,nd->n", first, second), pairs.gold),
        }
        return Score(metrics, details)
