"""Pair classification by a trained classifier, as SentEval scores MRPC (Conneau & Kiela 2018, arXiv
1803.05449).

The encoder is frozen. A logistic regression reads |u - v| and u · v, number by number, of the
vectors u and v of a pair. Its penalty is chosen by cross-validation on the training split, among
C = 1/2, 1, 2, …, 32, and the earliest of the best is taken. Then it is trained on the whole split
and scored on the test split. Folds and solver have SentEval's seed, 1111. SentEval orders pairs by
length before it cuts folds, and here they keep the order of the file.

Letters: n pairs, D numbers of a vector.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from bothways.errors import InputError
from bothways.evaluation.inputs.contradictions import (
    say_empty,
    say_overlap,
    say_two_labels,
    unordered,
)
from bothways.evaluation.inputs.labeled_sets import require_scikit_learn
from bothways.evaluation.inputs.named_data import data_fingerprint
from bothways.evaluation.item_scores import value_items
from bothways.evaluation.registry import require_argument
from bothways.evaluation.task import RunOptions, Score, Task
from bothways.evaluation.tasks.pairs import LabeledPairs, read_labeled_pairs
from bothways.search.vectors import AnyEncoder, encode_texts

_SEED = 1111
_PENALTIES = tuple(2.0**power for power in range(-1, 6))


class TrainedPairs(Task):
    """Accuracy (main) and F1 of pairs with label 1, on a test split.

    `dev_accuracy` is that of the cross-validation.
    """

    kind = "trained-pairs"
    main = "accuracy"

    def __init__(
        self,
        train: LabeledPairs,
        test: LabeledPairs,
        *,
        folds: int = 10,
        prompt: str | None = None,
        name: str = "trained-pairs",
    ) -> None:
        """Keep the pairs and check them.

        Args:
            train: pairs that the classifier learns from.
            test: pairs that it is scored on.
            folds: parts of the cross-validation.
            prompt: instruction for all texts, used instead of the encoder's own.
            name: name of the task in results.

        Raises:
            InputError: if a label occurs in fewer training pairs than there are folds, or if the
                test pairs have one label alone.
            MissingExtra: if scikit-learn is not installed.
        """
        require_scikit_learn("pair classification")
        if folds < 2:
            raise InputError(f"{name}: folds must be at least 2 (got {folds})")
        counts = [train.labels.count(label) for label in (0, 1)]
        if min(counts) < folds:
            raise InputError(
                f"{name}: folds={folds}, but the training split has {counts[0]} pairs of label 0 and {counts[1]} of label 1; "
                "use fewer folds"
            )
        if len(set(test.labels)) < 2:
            raise InputError(
                f"{name}: {len(test.labels)} test pairs, all with label {test.labels[0]}; both 0 and 1 are needed"
            )
        for part, pairs in (("train", train), ("test", test)):
            say_two_labels(f"{name} ({part})", unordered(pairs.texts), pairs.labels, "pairs")
            say_empty(name, [*pairs.first, *pairs.second])
        say_overlap(name, unordered(train.texts), list(unordered(test.texts)), "test pairs")
        self.train, self.test = train, test
        self.folds, self.prompt, self.name = folds, prompt, name
        self.fingerprint = data_fingerprint([list(train), list(test)])
        self.settings = {"folds": folds, "prompt": prompt}

    @classmethod
    def from_argument(
        cls,
        argument: str | None,
        *,
        folds: int = 10,
        train: str = "train",
        split: str = "test",
        first: str | None = None,
        second: str | None = None,
        label: str | None = None,
        prompt: str | None = None,
    ) -> TrainedPairs:
        """Make the task from `trained-pairs:FOLDER`, for example `trained-pairs:mrpc?folds=5`.

        Args:
            argument: a folder with a training and a test split.
            folds: see `TrainedPairs`.
            train: the split to learn from.
            split: the split to score on.
            first: column of the first text. If None, it is found by its usual names.
            second: column of the second text. If None, it is found by its usual names.
            label: column of the label, 0 or 1. If None, it is found by its usual names.
            prompt: see `TrainedPairs`.
        """
        source = require_argument(argument, "trained-pairs")
        columns = {"first": first, "second": second, "label": label}
        parts = [read_labeled_pairs(source, part, columns) for part in (train, split)]
        return cls(*parts, folds=folds, prompt=prompt, name=f"trained-pairs:{source}")

    def run(self, encoder: AnyEncoder, options: RunOptions) -> Score:
        """Encode all texts, choose the penalty, train and score. See `Task.run`."""
        parts = (self.train, self.test)
        texts = [text for part in parts for side in (part.first, part.second) for text in side]
        vectors = encode_texts(encoder, texts, prompt=self.prompt, **options.encoding)
        counts = [len(part.labels) for part in parts for _ in range(2)]
        a, b, c, d = np.split(vectors, np.cumsum(counts)[:-1])
        fitted = fit_pairs(
            features(a, b), np.array(self.train.labels), features(c, d), folds=self.folds
        )
        from sklearn.metrics import f1_score

        gold = np.array(self.test.labels)
        right = (fitted.predicted == gold).astype(float)
        metrics = {
            "accuracy": float(right.mean()),
            "f1": float(f1_score(gold, fitted.predicted)),
            "dev_accuracy": max(fitted.accuracies),
        }
        details = {
            "training_pairs": len(self.train.labels),
            "test_pairs": len(gold),
            "penalty": fitted.penalty,
            "accuracies": dict(zip(map(str, _PENALTIES), fitted.accuracies)),
            "unconverged": fitted.unconverged,
        }
        return Score(metrics, {**details, **value_items(right, self._texts)})

    def _texts(self, pair: int) -> dict[str, str]:
        return {"first": self.test.first[pair], "second": self.test.second[pair]}


class FittedPairs(NamedTuple):
    """A trained classifier's answers.

    Attributes:
        predicted: (m,) classes of the test pairs.
        penalty: the chosen C.
        accuracies: mean accuracy of the folds for each C.
        unconverged: number of fits that 100 iterations did not end.
    """

    predicted: np.ndarray
    penalty: float
    accuracies: list[float]
    unconverged: int


def features(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return |u - v| and u · v of vectors (n, D) each, next to each other: (n, 2 D)."""
    return np.concatenate([np.abs(first - second), first * second], axis=1)


def fit_pairs(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, *, folds: int
) -> FittedPairs:
    """Choose a penalty by cross-validation on (n, F) with labels (n,), train, predict (m, F)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    def fitted(penalty: float, rows: np.ndarray) -> Any:
        return LogisticRegression(C=penalty, random_state=_SEED).fit(train[rows], labels[rows])

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        parts = list(StratifiedKFold(folds, shuffle=True, random_state=_SEED).split(train, labels))
        accuracies = [
            float(
                np.mean([fitted(c, rows).score(train[held], labels[held]) for rows, held in parts])
            )
            for c in _PENALTIES
        ]
        # SentEval compares percents with two decimals
        penalty = _PENALTIES[int(np.argmax(np.round(np.multiply(accuracies, 100), 2)))]
        predicted = fitted(penalty, np.arange(len(labels))).predict(test)
    unconverged = sum(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return FittedPairs(predicted, penalty, accuracies, unconverged)
