"""Clustering: V-measure by hand, 1 on separable vectors, 0 on random ones; both protocols against
plain scikit-learn.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from bothways.errors import InputError
from bothways.evaluation.inputs.labeled_sets import LabeledSet
from bothways.evaluation.registry import make_task
from bothways.evaluation.task import RunOptions
from bothways.evaluation.tasks.clustering import Clustering, agreement
from unit.evaluation.vectors import Written, write, written

pytest.importorskip("sklearn", reason="scikit-learn is not installed (pip install 'bothways[eval]')")
OPTIONS = RunOptions(seed=3)
CLUSTERS = 5


def vectors_of(count: int, distance: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    numbers = np.arange(count) % CLUSTERS
    vectors = rng.standard_normal((count, 8)).astype(np.float32)
    vectors[np.arange(count), numbers] += np.float32(distance)
    return vectors, numbers


def material(count: int, distance: float, seed: int) -> LabeledSet:
    vectors, numbers = vectors_of(count, distance, seed)
    return LabeledSet(tuple(written(vectors)), tuple(f"c{n}" for n in numbers), "made")


def entropy(counts: np.ndarray) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def test_v_measure_is_the_harmonic_mean_of_homogeneity_and_completeness():
    rng = np.random.default_rng(0)
    gold, found = rng.integers(0, 4, 300), rng.integers(0, 3, 300)
    found[:150] = gold[:150] % 3
    table = np.array([[((gold == g) & (found == f)).sum() for f in range(3)] for g in range(4)])
    classes, clusters, joint = entropy(table.sum(1)), entropy(table.sum(0)), entropy(table.reshape(-1))
    shared = classes + clusters - joint
    homogeneity, completeness = shared / classes, shared / clusters
    expected = 2 * homogeneity * completeness / (homogeneity + completeness)
    # float64 sums of a dozen logarithms
    assert agreement(gold, found)["v_measure"] == pytest.approx(expected, abs=1e-12)
    assert agreement(gold, gold * -7) == pytest.approx({"v_measure": 1, "ami": 1}, abs=1e-12)


@pytest.mark.parametrize("options", [{}, {"experiments": 3}, {"protocol": "fast", "fraction": 0.5, "documents": 300}])
def test_separable_is_one_and_random_is_not(options):
    # k-means++ picks starting centres at random: at this distance it all but always picks one in
    # each cluster
    assert Clustering([material(600, 400, 1)], **options).run(Written(), OPTIONS).metrics["v_measure"] > 0.99
    metrics = Clustering([material(600, 0, 1)], **options).run(Written(), OPTIONS).metrics
    assert metrics["v_measure"] < 0.08
    assert abs(metrics["ami"]) < 0.06


def test_whole_is_mini_batch_k_means_over_each_set_and_seed():
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.metrics import v_measure_score

    sets = [material(700, 2, 1), material(90, 2, 2)]
    score = Clustering(sets, experiments=2).run(Written(), OPTIONS)
    expected = []
    for count, seed in ((700, 1), (90, 2)):
        vectors, numbers = vectors_of(count, 2, seed)
        for start in (3, 4):
            model = MiniBatchKMeans(n_clusters=CLUSTERS, batch_size=500, n_init="auto", random_state=start).fit(vectors)
            expected.append(v_measure_score(numbers, model.labels_))
    assert score.details["v_measures"] == expected
    assert score.metrics["v_measure"] == pytest.approx(np.mean(expected), abs=1e-12)
    assert score.details["sets"] == 2


def test_fast_encodes_a_part_and_draws_from_it_with_replacement():
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.metrics import v_measure_score

    encoder = Written()
    task = Clustering([material(500, 2, 1)], protocol="fast", experiments=3, fraction=0.2, documents=400, seed=42)
    score = task.run(encoder, OPTIONS)
    assert encoder.calls == [("symmetric", None, 100)]
    vectors, numbers = vectors_of(500, 2, 1)
    generator = random.Random(42)
    kept = generator.sample(range(500), k=100)
    expected = []
    for _ in range(3):
        drawn = [kept[i] for i in generator.choices(range(100), k=400)]
        model = MiniBatchKMeans(n_clusters=CLUSTERS, batch_size=512, init="k-means++", n_init=1, random_state=42)
        expected.append(v_measure_score(numbers[drawn], model.fit_predict(vectors[drawn])))
    assert score.details["v_measures"] == expected


def test_from_files(tmp_path):
    rows = [{"text": t, "label": c} for t, c in zip(*(lambda m: (m.texts, m.labels))(material(60, 300, 1)))]
    flat = make_task(f"clustering:{write(tmp_path / 'd' / 'test.jsonl', rows).parent}")
    listed = [{"sentences": [r["text"] for r in rows], "labels": [r["label"] for r in rows]}]
    sets = make_task(f"clustering:{write(tmp_path / 'sets.jsonl', listed)}")
    assert flat.run(Written(), OPTIONS).metrics == sets.run(Written(), OPTIONS).metrics
    for options, message in [
        ("fraction=0", r"fraction in \(0, 1\] \(got 1, 16384, 0\)"),
        ("experiments=0", "must be at least 1"),
        ("protocol=slow", "protocol must be one of whole, fast"),
        ("protocol=fast&fraction=0.001", "leaves 1 texts of one class"),
        ("protocol=fast&fraction=1&documents=2", "documents=2 is fewer than the 5 clusters, one for each label; draw more"),
    ]:
        with pytest.raises(InputError, match=message):
            make_task(f"clustering:{tmp_path}/d?{options}").run(Written(), OPTIONS)


@pytest.mark.shared
def test_the_real_set_is_read(shared):
    task = make_task(f"clustering:{shared / 'stackoverflow-clustering'}?label=label_name")
    assert [(len(part.texts), len(set(part.labels))) for part in task.sets] == [(20_000, 20)]
