"""Semantic textual similarity: how well the similarity of two vectors orders pairs as people do.

The protocol is that of SimCSE (Gao et al. 2021, arXiv 2104.08821, appendix B) and SentEval (Conneau
& Kiela 2018): plain cosine without a regressor. An encoder that names another similarity is scored
by that one. The subsets of a year are concatenated and
correlated once ("all"). The older habits are the mean over subsets ("mean") and the mean weighted
by their sizes ("wmean"). They differ from "all" by a point or more and exist for comparison with
papers that used them.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from scipy.stats import rankdata

from bothways.errors import InputError
from bothways.evaluation.inputs.contradictions import (
    check_subsets,
    say_empty,
    say_equal_texts,
    say_scale,
    say_two_scores,
)
from bothways.evaluation.inputs.named_data import GoldPairs, gold_pairs
from bothways.evaluation.item_scores import pair_items
from bothways.evaluation.registry import require_argument
from bothways.evaluation.task import RunOptions, Score, Task, similarity_setting
from bothways.nearest import meant
from bothways.search.vectors import AnyEncoder, encode_texts
from bothways.similarity import pair_scores
from bothways.similarity_names import NAMES, Similarity, similarity_name

log = logging.getLogger("bothways")

Aggregation = Literal["all", "mean", "wmean"]


class STS(Task):
    """Spearman (main) and Pearson correlation of similarity with gold, in [-1, 1].

    If the file names subsets, each subset gets both correlations too.
    """

    kind = "sts"
    main = "spearman"

    def __init__(
        self,
        path: str | Path,
        *,
        aggregation: Aggregation = "all",
        split: str = "test",
        first: str | None = None,
        second: str | None = None,
        score: str | None = None,
        similarity: Similarity | None = None,
        prompt: str | None = None,
        name: str | None = None,
    ) -> None:
        """Read the pairs.

        Args:
            path: a pair file, a folder with a test split, or a hub data set.
            aggregation: how subsets become one number, see the top of this file. Without subsets it
                changes nothing.
            split: the split of a folder.
            first: column of the first sentence. If None, it is found by its usual names.
            second: column of the second sentence. If None, it is found by its usual names.
            score: column of the gold score. If None, it is found by its usual names.
            similarity: how vectors are compared. If None, as the encoder says.
            prompt: instruction for all sentences, used instead of the encoder's own. "" means none.
            name: name of the task in results. If None, `sts:PATH`.

        Raises:
            InputError: if the file cannot be read as pairs, or if the aggregation is unknown.
        """
        if aggregation not in get_args(Aggregation):
            raise InputError(
                f"aggregation {aggregation!r} is unknown; "
                f"{meant(aggregation, get_args(Aggregation))}choose one of {', '.join(get_args(Aggregation))}"
            )
        self.pairs: GoldPairs = gold_pairs(
            path, split=split, first=first, second=second, score=score
        )
        check_subsets(
            self.pairs.source, self.pairs.gold, self.pairs.subsets, averaged=aggregation != "all"
        )
        say_scale(self.pairs.source, self.pairs.gold)
        pairs, gold = list(zip(self.pairs.first, self.pairs.second)), self.pairs.gold
        say_two_scores(self.pairs.source, pairs, gold.tolist())
        say_equal_texts(self.pairs.source, pairs, (gold == gold.max(initial=0.0)).tolist())
        say_empty(self.pairs.source, [*self.pairs.first, *self.pairs.second])
        self.aggregation = aggregation
        self.prompt = prompt
        self.name = name or f"sts:{path}"
        self.fingerprint = self.pairs.fingerprint
        self.similarity = similarity
        self.settings = {
            "aggregation": aggregation,
            "prompt": prompt,
            **similarity_setting(similarity),
        }

    @classmethod
    def from_argument(
        cls,
        argument: str | None,
        *,
        aggregation: Aggregation = "all",
        split: str = "test",
        first: str | None = None,
        second: str | None = None,
        score: str | None = None,
        similarity: Similarity | None = None,
        prompt: str | None = None,
    ) -> STS:
        """Make the task from `sts:PATH`, for example `sts:stsb?split=dev&aggregation=wmean`.

        The options are those of `STS`.
        """
        path = require_argument(argument, "sts")
        return cls(
            path,
            aggregation=aggregation,
            split=split,
            first=first,
            second=second,
            score=score,
            similarity=similarity,
            prompt=prompt,
        )

    def run(self, encoder: AnyEncoder, options: RunOptions) -> Score:
        """Encode each distinct sentence once and correlate. See `Task.run`."""
        count = len(self.pairs.gold)
        vectors = encode_texts(
            encoder, self.pairs.first + self.pairs.second, prompt=self.prompt, **options.encoding
        )
        kind = similarity_name(encoder, self.similarity)
        found = pair_scores(vectors[:count], vectors[count:], kind)
        if (found == found[0]).all():
            log.warning(
                "%s: all %d %ss are equal; their correlation is undefined and counted as 0",
                self.name,
                count,
                NAMES[kind],
            )
        metrics = correlate(found, self.pairs.gold, self.pairs.subsets, self.aggregation)
        details = {
            "pairs": count,
            "aggregation": self.aggregation,
            "similarity": kind,
            "file": self.pairs.source,
        }
        items = pair_items(
            found,
            self.pairs.gold,
            self._texts,
            groups=self.pairs.subsets,
            weighting=self.aggregation,
        )
        return Score(metrics, {**details, **items})

    def _texts(self, pair: int) -> dict[str, str]:
        return {"first": self.pairs.first[pair], "second": self.pairs.second[pair]}


def correlate(
    predicted: np.ndarray,
    gold: np.ndarray,
    subsets: tuple[str, ...] | None = None,
    aggregation: Aggregation = "all",
) -> dict[str, float]:
    """Compute the Spearman and Pearson correlation of `predicted` (N,) with `gold` (N,).

    Args:
        predicted: scores to judge.
        gold: true scores.
        subsets: the subset of each pair. If given, the result also has `spearman[NAME]` and
            `pearson[NAME]` for each subset.
        aggregation: "all" correlates the concatenation once. "mean" and "wmean" average the
            correlations of the subsets.
    """
    whole = {"spearman": spearman(predicted, gold), "pearson": pearson(predicted, gold)}
    if subsets is None:
        return whole
    labels = np.array(subsets)
    names = list(dict.fromkeys(subsets))
    parts = {
        name: (
            spearman(predicted[labels == name], gold[labels == name]),
            pearson(predicted[labels == name], gold[labels == name]),
        )
        for name in names
    }
    if aggregation != "all":
        weights = [
            float((labels == name).sum()) if aggregation == "wmean" else 1.0 for name in names
        ]
        for column, metric in enumerate(("spearman", "pearson")):
            whole[metric] = float(
                np.average([parts[name][column] for name in names], weights=weights)
            )
    for name, (rank_correlation, linear_correlation) in parts.items():
        whole[f"spearman[{name}]"] = rank_correlation
        whole[f"pearson[{name}]"] = linear_correlation
    return whole


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the Pearson correlation of the ranks.

    Tied values share the mean of their ranks. See `pearson` for constant input.
    """
    return pearson(rankdata(a), rankdata(b))


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the linear correlation in [-1, 1], in float64.

    If either side is constant, the correlation is undefined. It then counts as 0, no better than
    chance, with a warning. So a collapsed encoder loses every comparison and does not spread NaN.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if len(a) == 0 or (a == a[0]).all() or (b == b[0]).all():
        warnings.warn(
            "a correlation with constant scores is undefined and counted as 0",
            RuntimeWarning,
            stacklevel=2,
        )
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    return float(np.clip(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), -1.0, 1.0))
