"""Pair classification: tell pairs that mean the same from other pairs by their similarity.

The protocol is MTEB's (arXiv 2210.07316). There are four similarities: cosine, dot product, minus
Euclidean and minus Manhattan distance. For each, the task reports average precision, which needs no
threshold, and accuracy and F1 at the threshold that is best on these very pairs. A threshold lies
between two different scores, never outside all of them. The figures named `similarity` are those of
the similarity that the encoder states.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from bothways.data.columns import ANSWERS, DUPLICATE, find_column, find_pair, text_in
from bothways.errors import InputError
from bothways.evaluation.inputs.contradictions import (
    say_empty,
    say_equal_texts,
    say_two_labels,
    unordered,
)
from bothways.evaluation.inputs.labeled_sets import require_scikit_learn
from bothways.evaluation.inputs.named_data import data_fingerprint, zero_or_one
from bothways.evaluation.inputs.split_table import open_split
from bothways.evaluation.item_scores import pair_items
from bothways.evaluation.registry import require_argument
from bothways.evaluation.task import RunOptions, Score, Task, similarity_setting
from bothways.search.vectors import AnyEncoder, encode_texts
from bothways.similarity import pair_scores
from bothways.similarity_names import SIMILARITIES, Similarity, similarity_name


class LabeledPairs(NamedTuple):
    """N pairs of texts.

    Attributes:
        first: N texts.
        second: N texts.
        labels: N numbers, 1 for pairs that mean the same and 0 for the others.
    """

    first: list[str]
    second: list[str]
    labels: list[int]

    @property
    def texts(self) -> list[tuple[str, str]]:
        """Return both texts of each pair."""
        return list(zip(self.first, self.second))


def read_labeled_pairs(source: str, split: str, columns: Mapping[str, str | None]) -> LabeledPairs:
    """Read a file, or one split of a folder.

    Args:
        source: the file or folder.
        split: the split of a folder.
        columns: names of the columns "first", "second" and "label". None finds a column by its
            usual names. For example, `{"first": "a", "second": "b", "label": None}`.

    Raises:
        InputError: if a column is missing, a value is not a text, or a label is neither 0 nor 1.
        SourceError: if the file does not exist.
    """
    table = open_split(source, split)
    where, row = table.first()
    one, two = find_pair(where, row, asked=(columns["first"], columns["second"]))
    label = find_column(where, row, (*ANSWERS, *DUPLICATE), asked=columns["label"], option="label")
    rows = list(table.rows())
    firsts, seconds = (
        [text_in(at, row, name, surrogates="refuse") for at, row in rows] for name in (one, two)
    )
    return LabeledPairs(firsts, seconds, [zero_or_one(at, row, label) for at, row in rows])


class PairClassification(Task):
    """Average precision, accuracy and F1 of four similarities and their maxima, all in [0, 1].

    The main metric is `similarity_ap`: that of the similarity by which the encoder ranks texts. It
    is mteb's name.
    """

    kind = "pairs"
    main = "similarity_ap"

    def __init__(
        self,
        first: list[str],
        second: list[str],
        labels: list[int],
        *,
        similarity: Similarity | None = None,
        prompt: str | None = None,
        name: str = "pairs",
    ) -> None:
        """Keep N pairs and check them.

        Args:
            first: N texts.
            second: N texts.
            labels: N numbers, 1 for pairs that mean the same and 0 for the others. Both must occur.
            similarity: how vectors are compared in the figures named `similarity`. If None, as the
                encoder says.
            prompt: instruction for all texts, used instead of the encoder's own.
            name: name of the task in results.

        Raises:
            InputError: if only one of the labels occurs, or the similarity is unknown.
            MissingExtra: if scikit-learn is not installed.
        """
        require_scikit_learn("pair classification")
        if len(set(labels)) < 2:
            raise InputError(
                f"{name}: {len(labels)} pairs, all with label {labels[0] if labels else 'none'}; both 0 and 1 are needed"
            )
        say_two_labels(name, unordered(zip(first, second)), labels, "pairs")
        say_equal_texts(name, zip(first, second), (label == 1 for label in labels))
        say_empty(name, [*first, *second])
        self.first, self.second, self.labels = first, second, np.array(labels)
        self.similarity, self.prompt, self.name = similarity, prompt, name
        self.fingerprint = data_fingerprint([first, second, labels])
        self.settings = {"prompt": prompt, **similarity_setting(similarity)}

    @classmethod
    def from_argument(
        cls,
        argument: str | None,
        *,
        split: str = "test",
        first: str | None = None,
        second: str | None = None,
        label: str | None = None,
        similarity: Similarity | None = None,
        prompt: str | None = None,
    ) -> PairClassification:
        """Make the task from `pairs:PATH`, for example `pairs:twitter.tsv?label=same`.

        Args:
            argument: a file, or a folder with a test split.
            split: the split of a folder.
            first: column of the first text. If None, it is found by its usual names.
            second: column of the second text. If None, it is found by its usual names.
            label: column of the label, 0 or 1. If None, it is found by its usual names.
            similarity: see `PairClassification`.
            prompt: see `PairClassification`.
        """
        source = require_argument(argument, "pairs")
        columns = {"first": first, "second": second, "label": label}
        pairs = read_labeled_pairs(source, split, columns)
        return cls(*pairs, similarity=similarity, prompt=prompt, name=f"pairs:{source}")

    def run(self, encoder: AnyEncoder, options: RunOptions) -> Score:
        """Encode each distinct text once and score. See `Task.run`."""
        count = len(self.labels)
        vectors = encode_texts(
            encoder, [*self.first, *self.second], prompt=self.prompt, **options.encoding
        )
        kind = similarity_name(encoder, self.similarity)
        metrics: dict[str, float] = {}
        thresholds: dict[str, dict[str, float]] = {}
        found = similarities(vectors[:count], vectors[count:])
        for name, scores in found.items():
            measures, thresholds[name] = separation(scores, self.labels)
            metrics |= {f"{name}_{measure}": value for measure, value in measures.items()}
        for measure in ("ap", "accuracy", "f1"):
            metrics[f"max_{measure}"] = max(metrics[f"{name}_{measure}"] for name in found)
            metrics[f"similarity_{measure}"] = metrics[f"{kind}_{measure}"]
        details = {
            "pairs": count,
            "similarity": kind,
            "positive_pairs": int(self.labels.sum()),
            "thresholds": thresholds,
        }
        items = pair_items(found[kind], self.labels, self._texts, measure="average_precision")
        return Score(metrics, {**details, **items})

    def _texts(self, pair: int) -> dict[str, str]:
        return {"first": self.first[pair], "second": self.second[pair]}


def similarities(first: np.ndarray, second: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the four similarities of row i with row i: two (N, D) arrays → (N,) float64 each.

    Higher is closer.
    """
    return {kind: pair_scores(first, second, kind) for kind in SIMILARITIES}


def separation(scores: np.ndarray, labels: np.ndarray) -> tuple[dict[str, float], dict[str, float]]:
    """Measure how well a threshold on `scores` (N,) separates `labels` (N,) of 0 and 1.

    Returns:
        `ap`, `accuracy` and `f1`, and the thresholds of the last two. If all scores are equal, no
        threshold lies between two of them. Accuracy and F1 are then 0, as in MTEB, and there are no
        thresholds.
    """
    from sklearn.metrics import average_precision_score

    measures = {"ap": float(average_precision_score(labels, scores)), "accuracy": 0.0, "f1": 0.0}
    order = np.argsort(-scores, kind="stable")
    ranked, gold = scores[order], labels[order]
    cuts = np.flatnonzero(
        ranked[:-1] != ranked[1:]
    )  # the first cut + 1 pairs lie above the threshold
    if len(cuts) == 0:
        return measures, {}
    found = np.cumsum(gold)[cuts]
    above, positive = cuts + 1, int(gold.sum())
    right = found + (len(gold) - positive) - (above - found)
    curves = {"accuracy": right / len(gold), "f1": 2 * found / (above + positive)}
    best = {name: int(np.argmax(curve)) for name, curve in curves.items()}
    measures |= {name: float(curves[name][at]) for name, at in best.items()}
    return measures, {
        name: float((ranked[cuts[at]] + ranked[cuts[at] + 1]) / 2) for name, at in best.items()
    }
