"""Nearest neighbours over vectors, as MTEB's kNN classification: no training, the shape of the space is all there is.

MTEB (Muennighoff et al. 2023, arXiv 2210.07316; its kNNClassificationEvaluator) tries cosine and Euclidean distance with k = 1 and
reports the better one of each measure. Names: N training rows, M test rows, D embedding.
"""

from __future__ import annotations

import numpy as np

DISTANCES = ("cosine", "euclidean")


def knn_predictions(train: np.ndarray, classes: np.ndarray, test: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """The class that each test row gets, by distance.

    Args:
        train: (N, D) vectors.
        classes: (N,) their class numbers.
        test: (M, D) vectors.
        k: neighbours that vote, 1 ≤ k ≤ N; a tie goes to the smaller class number.

    Returns:
        (M,) class numbers for each of `DISTANCES`.
    """
    from sklearn.neighbors import KNeighborsClassifier

    found = {}
    for distance in DISTANCES:
        # brute force is exact; a tree would be too, but no faster in hundreds of dimensions
        model = KNeighborsClassifier(n_neighbors=k, metric=distance, algorithm="brute")
        found[distance] = model.fit(train, classes).predict(test)
    return found
