"""The parts of our tasks that follow mteb's code, against that code: few-shot draws, fast
clustering, thresholds of pairs.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from bothways.evaluation.inputs.labeled_sets import LabeledSet
from bothways.evaluation.task import RunOptions
from bothways.evaluation.tasks.classification import Classification
from bothways.evaluation.tasks.clustering import Clustering
from bothways.evaluation.tasks.pairs import separation
from unit.evaluation.vectors import Written, written

pytest.importorskip("mteb", reason="mteb is not installed (pip install 'bothways[eval]')")


def material(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 6, count)
    vectors = rng.standard_normal((count, 10)).astype(np.float32)
    vectors[np.arange(count), numbers] += 2
    return vectors, numbers


def labelled(vectors: np.ndarray, numbers: np.ndarray) -> LabeledSet:
    return LabeledSet(tuple(written(vectors)), tuple(str(n) for n in numbers), "made")


def test_few_shot_draws_and_scores():
    from datasets import Dataset
    from mteb.abstasks.classification import AbsTaskClassification
    from sklearn.linear_model import LogisticRegression

    class Protocol:
        seed, samples_per_label, label_column_name = 42, 8, "label"

    train, test = material(200, 0), material(150, 1)
    task = Classification(labelled(*train), labelled(*test))
    rows = Dataset.from_dict({"text": [""] * 200, "label": train[1].tolist()})
    order = None
    accuracies = []
    for ours, _ in task.draws(42):
        _, order, theirs = AbsTaskClassification._undersample_data(Protocol(), rows, 0, order)
        assert ours.tolist() == theirs
        model = LogisticRegression(max_iter=100, random_state=42).fit(train[0][theirs], train[1][theirs])
        accuracies.append(AbsTaskClassification._calculate_scores(Protocol(), test[1], model.predict(test[0]))["accuracy"])
    found = task.run(Written(), RunOptions(seed=42))
    assert found.details["accuracies"] == pytest.approx(accuracies, abs=1e-12)


def test_fast_clustering():
    from mteb.abstasks.clustering import _evaluate_clustering_bootstrapped

    vectors, numbers = material(400, 2)
    task = Clustering([labelled(vectors, numbers)], protocol="fast", fraction=0.25, documents=300, seed=42)
    generator = random.Random(42)
    kept = generator.sample(range(400), k=100)
    theirs, _ = _evaluate_clustering_bootstrapped(
        vectors[kept], [[str(numbers[i])] for i in kept],
        n_clusters=10, cluster_size=300, kmean_batch_size=512, max_depth=None, rng_state=generator, seed=42,
    )  # fmt: skip
    score = task.run(Written(), RunOptions())
    assert score.details["v_measures"] == pytest.approx(theirs["v_measure"]["Level 0"], abs=1e-12)
    assert score.metrics["ami"] == pytest.approx(np.mean(theirs["ami"]["Level 0"]), abs=1e-12)


@pytest.mark.parametrize("levels", [1, 3, 10**6])
def test_thresholds_of_pairs(levels):
    from mteb.abstasks.pair_classification import AbsTaskPairClassification

    rng = np.random.default_rng(levels)
    labels = rng.integers(0, 2, 100)
    scores = rng.integers(0, levels, 100).astype(float)
    accuracy, _ = AbsTaskPairClassification._find_best_acc_and_threshold(None, scores.tolist(), labels, True)
    f1, *_ = AbsTaskPairClassification._find_best_f1_and_threshold(None, scores.tolist(), labels, True)
    measures, _ = separation(scores, labels)
    assert (measures["accuracy"], measures["f1"]) == pytest.approx((accuracy, f1), abs=1e-12)
