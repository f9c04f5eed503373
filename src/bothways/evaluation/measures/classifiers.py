"""The parts of a classification experiment: the few training texts, the logistic regression, the measures. Arrays only, no encoder.

All three are MTEB's (Muennighoff et al. 2023, arXiv 2210.07316, and its code). Names: N training rows, M test rows, D embedding.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np

_ITERATIONS = 100  # MTEB's limit; reaching it is counted, not hidden


def few_per_class(order: Iterable[int], numbers: np.ndarray, shots: int) -> np.ndarray:
    """The first `shots` rows of each class, in the order given; a class with fewer gives all it has."""
    seen: dict[int, int] = {}
    chosen = []
    for row in order:
        number = int(numbers[row])
        if seen.get(number, 0) < shots:
            chosen.append(int(row))
            seen[number] = seen.get(number, 0) + 1
    return np.array(chosen)


def logistic_predictions(train: np.ndarray, classes: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, bool]:
    """Classes (M,) that a logistic regression on (N, D) vectors gives to (M, D) ones, and whether its 100 iterations sufficed."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model = LogisticRegression(max_iter=_ITERATIONS).fit(train, classes)
    return model.predict(test), not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


def scores_of(gold: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """MTEB's measures of predicted classes (M,), each in [0, 1].

    `ap`, where the test rows are of two classes, is the average precision of the predictions themselves (0 or 1, no
    probabilities), with the larger class number as the positive one: that is how MTEB computes it.
    """
    from sklearn.metrics import accuracy_score, average_precision_score, f1_score

    scores = {
        "accuracy": float(accuracy_score(gold, predicted)),
        "f1": float(f1_score(gold, predicted, average="macro")),
        "f1_weighted": float(f1_score(gold, predicted, average="weighted")),
    }
    classes = np.unique(gold)
    if len(classes) == 2:
        scores["ap"] = float(average_precision_score(gold == classes[1], predicted == classes[1]))
    return scores
