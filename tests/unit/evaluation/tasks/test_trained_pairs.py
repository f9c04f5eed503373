"""Pairs with a trained classifier: SentEval's procedure written out, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from bothways.errors import InputError
from bothways.evaluation.evaluate import evaluate
from bothways.evaluation.registry import make_task
from bothways.evaluation.task import RunOptions
from bothways.evaluation.tasks.pairs import LabeledPairs
from bothways.evaluation.tasks.trained_pairs import TrainedPairs, features
from unit.evaluation.vectors import Written, write, written

pytest.importorskip("sklearn", reason="scikit-learn is not installed (pip install 'bothways[eval]')")


def drawn(rng: np.random.Generator, count: int) -> tuple[LabeledPairs, np.ndarray, np.ndarray]:
    """Pairs whose vectors are near for label 1, with much noise."""
    first, labels = rng.standard_normal((count, 4)), rng.integers(0, 2, count)
    second = np.where(labels[:, None] == 1, first, 0) + rng.standard_normal((count, 4))
    pairs = LabeledPairs(written(first), written(second), labels.tolist())
    return pairs, np.float32(first), np.float32(second)


def senteval(train: np.ndarray, labels: np.ndarray, test: np.ndarray, folds: int) -> tuple[float, np.ndarray, float]:
    """SentEval's KFoldClassifier with scikit-learn: the best accuracy in percent, predictions, and the penalty."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    penalties = [2**t for t in range(-1, 6, 1)]
    scores = []
    for penalty in penalties:
        fold_scores = []
        for inside, held in StratifiedKFold(n_splits=folds, shuffle=True, random_state=1111).split(train, labels):
            model = LogisticRegression(C=penalty, random_state=1111)
            model.fit(train[inside], labels[inside])
            fold_scores.append(model.score(train[held], labels[held]))
        scores.append(round(100 * np.mean(fold_scores), 2))
    best = penalties[int(np.argmax(scores))]
    model = LogisticRegression(C=best, random_state=1111)
    return max(scores), model.fit(train, labels).predict(test), best


@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_sentevals_procedure(seed: int) -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(seed)
    (train, a, b), (test, c, d) = drawn(rng, 90), drawn(rng, 60)
    score = TrainedPairs(train, test, folds=5).run(Written(), RunOptions())
    dev, predicted, penalty = senteval(
        np.c_[np.abs(a - b), a * b], np.array(train.labels), np.c_[np.abs(c - d), c * d], folds=5
    )
    gold = np.array(test.labels)
    assert score.metrics["accuracy"] == pytest.approx((predicted == gold).mean(), abs=1e-12)
    assert score.metrics["f1"] == pytest.approx(f1_score(gold, predicted), abs=1e-12)
    assert 100 * score.metrics["dev_accuracy"] == pytest.approx(dev, abs=0.006)
    assert score.details["penalty"] == penalty
    assert np.mean(score.details["items"]["values"]) == pytest.approx(score.metrics["accuracy"])


def test_features_are_those_of_the_paper() -> None:
    assert features(np.array([[1.0, -2.0]]), np.array([[3.0, 1.0]])).tolist() == [[2.0, 3.0, 3.0, -2.0]]


def test_a_folder_with_two_splits(tmp_path) -> None:
    rng = np.random.default_rng(3)
    for name, count in (("train", 40), ("val", 30)):
        pairs, *_ = drawn(rng, count)
        rows = [{"sentence1": one, "sentence2": two, "label": label} for one, two, label in zip(*pairs)]
        write(tmp_path / "d" / f"{name}.jsonl", rows)
    task = f"trained-pairs:{tmp_path / 'd'}?split=val&folds=4"
    record = evaluate(Written(), task).records[task]
    assert record.main == "accuracy" and record.details["training_pairs"] == 40 and record.details["test_pairs"] == 30
    with pytest.raises(InputError, match=r"folds=25, but the training split has \d+ pairs of label 0"):
        make_task(f"trained-pairs:{tmp_path / 'd'}?split=val&folds=25")
    with pytest.raises(InputError, match="folds must be at least 2"):
        make_task(f"trained-pairs:{tmp_path / 'd'}?split=val&folds=1")
    write(tmp_path / "d" / "test.jsonl", [{"sentence1": "a", "sentence2": "b", "label": 1}])
    with pytest.raises(InputError, match="1 test pairs, all with label 1"):
        make_task(f"trained-pairs:{tmp_path / 'd'}?folds=4")


@pytest.mark.shared
def test_mrpc_has_the_published_splits(shared) -> None:
    task = make_task(f"trained-pairs:{shared / 'mrpc'}")
    assert len(task.test.labels) == 1725 and len(task.train.labels) + 1725 <= 5801
