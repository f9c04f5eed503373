"""Parts of a classification experiment: the few training texts, logistic regression and measures.

All three are MTEB's (Muennighoff et al. 2023, arXiv 2210.07316, and its code). Functions take
arrays only. Letters: N training rows, M test rows, D embedding.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np

_ITERATIONS = 100  # MTEB's limit. Reaching it is reported.


def few_per_class(order: Iterable[int], numbers: np.ndarray, shots: int) -> np.ndarray:
    """Return the first `shots` rows of each class, in the order given.

    A class with fewer rows gives all of them.
    """
    seen: dict[int, int] = {}
    chosen = []
    for row in order:
        number = int(numbers[row])
        if seen.get(number, 0) < shots:
            chosen.append(int(row))
            seen[number] = seen.get(number, 0) + 1
    return np.array(chosen)


def logistic_predictions(
    train: np.ndarray, classes: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Fit a logistic regression on vectors (N, D) and predict classes for (M, D).

    Returns:
        The classes (M,), and whether 100 iterations sufficed.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model = LogisticRegression(max_iter=_ITERATIONS).fit(train, classes)
    return model.predict(test), not any(
        issubclass(warning.category, ConvergenceWarning) for warning in caught
    )


def scores_of(gold: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Compute MTEB's measures of predicted classes (M,), each in [0, 1].

    If the test rows are of two classes, there is also `ap`, the average precision. As in MTEB it is
    computed from the predicted classes (0 or 1) and not from probabilities, with the larger class
    number as the positive one.
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
