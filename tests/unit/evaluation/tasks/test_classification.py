"""Classification: 1 on separable vectors, chance on random ones; draws, measures and folds against
scikit-learn and naive loops.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from bothways.errors import InputError
from bothways.evaluation.inputs.labeled_sets import LabeledSet
from bothways.evaluation.measures.classifiers import few_per_class, logistic_predictions
from bothways.evaluation.measures.knn import knn_predictions
from bothways.evaluation.registry import make_task
from bothways.evaluation.task import RunOptions
from bothways.evaluation.tasks.classification import Classification, ClassifierOptions
from unit.evaluation.vectors import Written, write, written

pytest.importorskip("sklearn", reason="scikit-learn is not installed (pip install 'bothways[eval]')")
OPTIONS = RunOptions(seed=42)
CLASSES = 4


def material(count: int, distance: float, seed: int, classes: int = CLASSES) -> LabeledSet:
    """Vectors of 16 normal numbers; those of class c have `distance` more in place c."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, classes, count)
    vectors = rng.standard_normal((count, 16))
    vectors[np.arange(count), numbers] += distance
    return LabeledSet(tuple(written(vectors)), tuple(str(n) for n in numbers), "made")


@pytest.mark.parametrize("options", [{}, {"method": "knn"}, {"method": "knn", "k": 5}, {"shots": "all"}, {"folds": 4}])
def test_separable_is_one_and_random_is_chance(options):
    for distance, low, high in ((60.0, 1.0, 1.0), (0.0, 0.15, 0.35)):
        train, test = material(200, distance, 1), material(400, distance, 2)
        task = Classification(None if "folds" in options else train, test, ClassifierOptions(**options))
        score = task.run(Written(), OPTIONS)
        # random: 400 rows at 1/4 deviate by 0.022, ten draws of the same rows are dependent; ±0.1
        # is beyond four deviations
        assert low <= score.metrics["accuracy"] <= high
        assert low <= score.metrics["f1"] <= 1
        assert "ap" not in score.metrics


def test_only_what_the_draws_need_is_encoded_each_text_once():
    encoder = Written()
    score = Classification(material(500, 3, 1), material(50, 3, 2), ClassifierOptions(shots=2, experiments=3)).run(
        encoder, OPTIONS
    )
    ((role, prompt, count),) = encoder.calls
    assert (role, prompt) == ("symmetric", None)
    assert 50 + 2 * CLASSES <= count <= 50 + 3 * 2 * CLASSES
    assert score.details["training_texts"] == [2 * CLASSES] * 3
    values = score.details["items"]["values"]
    assert len(values) == 50
    # the items are rounded to seven decimals
    assert np.mean(values) == pytest.approx(score.metrics["accuracy"], abs=1e-7)
    assert np.mean(score.details["accuracies"]) == pytest.approx(score.metrics["accuracy"], abs=1e-12)


def test_draws_shuffle_the_order_before_them():
    train = material(100, 0, 3)
    draws = Classification(train, material(9, 0, 4), ClassifierOptions(shots=5, experiments=3)).draws(seed=7)
    order = list(range(100))
    for rows, test in draws:
        np.random.RandomState(7).shuffle(order)
        counts: Counter[str] = Counter()
        expected = []
        for row in order:
            counts[train.labels[row]] += 1
            if counts[train.labels[row]] <= 5:
                expected.append(row)
        assert rows.tolist() == expected
        assert test.tolist() == list(range(100, 109))
    assert len({tuple(rows) for rows, _ in draws}) == 3


def test_few_per_class_takes_what_there_is():
    assert few_per_class([4, 3, 2, 1, 0], np.array([0, 0, 0, 1, 1]), 2).tolist() == [4, 3, 2, 1]
    assert few_per_class([0, 1], np.array([0, 1]), 9).tolist() == [0, 1]


def test_the_seed_decides():
    train, test = material(100, 1, 1), material(300, 1, 2)
    score = {s: Classification(train, test, seed=s).run(Written(), OPTIONS).metrics for s in (None, 42, 5)}
    assert score[None] == score[42] != score[5]


def test_logistic_regression_is_scikit_learns_with_a_hundred_iterations():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    train, classes, test = rng.standard_normal((60, 8)), rng.integers(0, 3, 60), rng.standard_normal((40, 8))
    predicted, converged = logistic_predictions(train, classes, test)
    assert converged
    assert predicted.tolist() == LogisticRegression(max_iter=100).fit(train, classes).predict(test).tolist()
    assert not logistic_predictions(train * np.geomspace(1e-3, 1e4, 8), classes, test)[1]


def test_nearest_neighbours_against_a_loop():
    rng = np.random.default_rng(1)
    train, classes, test = rng.standard_normal((50, 6)), rng.integers(0, 3, 50), rng.standard_normal((30, 6))
    found = knn_predictions(train, classes, test, k=3)
    for distance, far in (
        ("euclidean", lambda a, b: float(np.sum((a - b) ** 2))),
        ("cosine", lambda a, b: -float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))),
    ):
        for row, predicted in zip(test, found[distance]):
            near = sorted(range(50), key=lambda i: far(train[i], row))[:3]
            votes = Counter(int(classes[i]) for i in near)
            assert predicted == min(c for c in votes if votes[c] == max(votes.values()))


def test_knn_reports_the_better_distance():
    metrics = (
        Classification(material(80, 2, 1), material(200, 2, 2), ClassifierOptions(method="knn", experiments=1))
        .run(Written(), OPTIONS)
        .metrics
    )
    assert metrics["accuracy"] == max(metrics["accuracy[cosine]"], metrics["accuracy[euclidean]"])


def test_folds_test_every_text_once():
    task = Classification(None, material(103, 0, 1), ClassifierOptions(folds=5, shots="all"))
    tested = np.concatenate([test for _, test in task.draws(0)])
    assert sorted(tested) == list(range(103))
    assert all(not set(train) & set(test) and len(train) + len(test) == 103 for train, test in task.draws(0))


def test_from_a_folder_a_file_and_options(tmp_path):
    rows = [{"text": text, "label": label} for text, label in zip(*(lambda m: (m.texts, m.labels))(material(120, 50, 1)))]
    write(tmp_path / "d" / "train.jsonl", rows[:80])
    write(tmp_path / "d" / "val.jsonl", rows[80:])
    one = make_task(f"classification:{tmp_path}/d?split=val&shots=4&experiments=2")
    other = make_task(f"classification:{tmp_path}/d/val.jsonl?train={tmp_path}/d/train.jsonl&shots=4&experiments=2")
    scores = [task.run(Written(), OPTIONS).metrics for task in (one, other)]
    assert scores[0] == scores[1]
    assert one.fingerprint == other.fingerprint
    assert one.settings["shots"] == 4
    encoder = Written()
    make_task(f"classification:{tmp_path}/d?split=val&prompt=Sort: ").run(encoder, OPTIONS)
    assert encoder.calls[0][1] == "Sort: "
    for spec, message in [
        ("d/val.jsonl", "is a single file; give a folder with train and test files, train=FILE, or folds=K"),
        ("d?split=val&shots=0", "shots must be at least 1"),
        ("d?split=val&method=svm", "method must be one of logreg, knn"),
        ("d/val.jsonl?folds=30", "folds=30, but the smallest class has"),
        ("d?split=val&method=knn&shots=1&k=9", "k=9 neighbors of 4 training texts"),
    ]:
        with pytest.raises(InputError, match=message):
            make_task(f"classification:{tmp_path}/{spec}").run(Written(), OPTIONS)


def test_a_split_is_never_mistaken_for_a_file_of_its_name(tmp_path, monkeypatch):
    rows = [{"text": text, "label": label} for text, label in zip("abcdef", "xyxyxy")]
    write(tmp_path / "d" / "train.jsonl", rows[:4])
    write(tmp_path / "d" / "test.jsonl", rows[4:])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train").write_text("notes of somebody")
    assert make_task("classification:d?shots=1").trained_on == 4
    assert make_task("classification:d?shots=1&train=train").trained_on == 4
    (tmp_path / "train").unlink()
    write(tmp_path / "train" / "train.jsonl", rows)
    with pytest.raises(InputError, match=r"d/test\.jsonl is a single file; give a folder"):
        make_task("classification:d/test.jsonl")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "split", "classes"), [("banking77", "test", 77), ("emotion", "val", 6), ("snips", "valid", 7)]
)
def test_real_sets_are_read(shared, name, split, classes):
    task = make_task(f"classification:{shared / name}?split={split}")
    assert len(task.classes) == classes
