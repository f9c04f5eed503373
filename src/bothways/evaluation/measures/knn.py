"""Nearest neighbors over vectors, as in MTEB's kNN classification.

Nothing is trained, so only the shape of the space counts. MTEB (Muennighoff et al. 2023, arXiv
2210.07316, its kNNClassificationEvaluator) tries cosine and Euclidean distance with k = 1 and
reports the better one for each measure. Letters: N training rows, M test rows, D embedding.
"""

from __future__ import annotations

import numpy as np

DISTANCES = ("cosine", "euclidean")


def knn_predictions(
    train: np.ndarray, classes: np.ndarray, test: np.ndarray, k: int
) -> dict[str, np.ndarray]:
    """Predict the class of each test row, by distance.

    Args:
        train: (N, D) vectors.
        classes: (N,) their class numbers.
        test: (M, D) vectors.
        k: number of neighbors that vote, 1 ≤ k ≤ N. A tie goes to the smaller class number.

    Returns:
        (M,) class numbers for each of `DISTANCES`.
    """
    from sklearn.neighbors import KNeighborsClassifier

    found = {}
    for distance in DISTANCES:
        # Brute force is exact. A tree would be exact too, but not faster in hundreds of dimensions.
        model = KNeighborsClassifier(n_neighbors=k, metric=distance, algorithm="brute")
        found[distance] = model.fit(train, classes).predict(test)
    return found
