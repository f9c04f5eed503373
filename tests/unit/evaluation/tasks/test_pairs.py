"""Pair classification: average precision against scikit-learn, best thresholds against trying all
of them.
"""

from __future__ import annotations

import numpy as np
import pytest

from bothways.errors import InputError
from bothways.evaluation.registry import make_task
from bothways.evaluation.task import RunOptions
from bothways.evaluation.tasks.pairs import PairClassification, separation, similarities
from bothways.similarity import pair_scores
from bothways.similarity_names import SIMILARITIES
from unit.evaluation.vectors import Written, write, written

pytest.importorskip("sklearn", reason="scikit-learn is not installed (pip install 'bothways[eval]')")


@pytest.mark.parametrize("levels", [2, 5, 10**6])  # many ties, few, none
@pytest.mark.parametrize("seed", range(5))
def test_best_thresholds_equal_trying_all(levels, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 60)
    scores = (rng.integers(0, levels, 60) + labels * levels * 0.3).round()
    measures, thresholds = separation(scores, labels)
    distinct = np.unique(scores)
    tried = []
    for threshold in (distinct[1:] + distinct[:-1]) / 2:
        said = scores > threshold
        right = int((said & (labels == 1)).sum())
        tried.append(((said == labels).mean(), 2 * right / (said.sum() + labels.sum())))
    assert (measures["accuracy"], measures["f1"]) == pytest.approx(np.max(tried, axis=0), abs=1e-12)
    said = scores > thresholds["accuracy"]
    assert (said == labels).mean() == pytest.approx(measures["accuracy"], abs=1e-12)


def test_average_precision_by_hand_and_no_threshold_between_equals():
    # thresholds 3, 2, 1: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1
    measures, _ = separation(np.array([3.0, 2.0, 1.0]), np.array([1, 0, 1]))
    assert measures["ap"] == pytest.approx(0.5 + 0.5 * 2 / 3, abs=1e-12)
    measures, thresholds = separation(np.ones(4), np.array([1, 0, 1, 1]))
    assert (measures, thresholds) == ({"ap": 0.75, "accuracy": 0.0, "f1": 0.0}, {})


def test_similarities_by_hand():
    found = similarities(np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[6.0, 8.0], [-1.0, 1.0]]))
    # the cosine is rounded to twelve decimals
    assert found["cosine"] == pytest.approx([1, -(0.5**0.5)], abs=1e-12)
    assert found["dot"].tolist() == [50, -1]
    assert found["euclidean"] == pytest.approx([-5, -(5**0.5)], abs=1e-12)
    assert found["manhattan"].tolist() == [-7, -3]


def test_separable_is_one_random_is_the_share_of_positives():
    rng = np.random.default_rng(0)
    first, labels = rng.standard_normal((400, 12)), rng.integers(0, 2, 400)
    other = rng.standard_normal((400, 12))
    close = np.where(labels[:, None] == 1, first + 0.01, other)
    for second, low, high in ((close, 1.0, 1.0), (other, labels.mean() - 0.1, labels.mean() + 0.1)):
        task = PairClassification(written(first), written(second), labels.tolist())
        metrics = task.run(Written(), RunOptions()).metrics
        assert low <= metrics["cosine_ap"] <= high
        assert metrics["max_ap"] == max(metrics[f"{name}_ap"] for name in ("cosine", "dot", "euclidean", "manhattan"))


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_the_figures_of_the_encoders_own_similarity_are_sentence_transformers(kind):
    from sentence_transformers.sentence_transformer.evaluation import BinaryClassificationEvaluator
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(4)
    size, labels = rng.uniform(0.5, 2, (80, 1)), rng.integers(0, 2, 80)
    first = rng.standard_normal((80, 6)) * size
    second = first * labels[:, None] + 0.8 * rng.standard_normal((80, 6)) * size
    texts = written(first), written(second)

    class Model(Written):
        similarity_fn_name = kind
        model_card_data = None

        def encode(self, texts, prompt=None, **options):
            return super().encode(list(texts), prompt)

    evaluator = BinaryClassificationEvaluator(*texts, labels.tolist(), write_csv=False)
    evaluator.store_metrics_in_model_card_data = lambda *given: None  # there is no card
    theirs = evaluator(Model())
    assert evaluator.primary_metric == f"{kind}_ap"
    found = PairClassification(*texts, labels.tolist()).run(Model(), RunOptions())
    for measure in ("ap", "accuracy", "f1"):
        assert found.metrics[f"similarity_{measure}"] == pytest.approx(theirs[f"{kind}_{measure}"], abs=1e-6)
    assert PairClassification.main == "similarity_ap" and found.details["similarity"] == kind
    of_items = average_precision_score(labels, pair_scores(np.float32(first), np.float32(second), kind))
    assert found.metrics["similarity_ap"] == pytest.approx(of_items, abs=1e-6)
    asked = PairClassification(*texts, labels.tolist(), similarity=kind)
    assert asked.run(Written(), RunOptions()).metrics == found.metrics
    assert asked.settings == {"prompt": None, "similarity": kind}
    plain = PairClassification(*texts, labels.tolist()).run(Written(), RunOptions()).metrics
    assert (plain["similarity_ap"] == found.metrics["similarity_ap"]) == (kind == "cosine")


def test_files_and_broken_rows(tmp_path):
    rows = [{"sentence1": "1 0 |", "sentence2": "1 1 |", "label": i % 2} for i in range(4)]
    assert make_task(f"pairs:{write(tmp_path / 'd' / 'val.jsonl', rows).parent}?split=val").labels.tolist() == [0, 1, 0, 1]
    (tmp_path / "x.tsv").write_text("question1\tquestion2\tis_duplicate\na\tb\t1\nc\td\t0\n")
    assert make_task(f"pairs:{tmp_path}/x.tsv").labels.tolist() == [1, 0]
    for broken, message in [
        (rows[:1], "1 pairs, all with label 0; both 0 and 1 are needed"),
        ([*rows, {**rows[0], "label": 0.5}], r"row 5: column 'label' must be 0 or 1 \(got 0.5\)"),
        ([{"a": "x", "label": 1}], "row 1: no column for first, such as 'sentence1'; name it with first="),
        ([*rows, {"sentence1": "a", "label": 1}], "row 5: no column 'sentence2'"),
    ]:
        with pytest.raises(InputError, match=message):
            make_task(f"pairs:{write(tmp_path / 'broken.jsonl', broken)}")


@pytest.mark.shared
def test_mrpc_is_the_published_set(shared):
    task = make_task(f"pairs:{shared / 'mrpc'}")
    assert (len(task.labels), int(task.labels.sum())) == (1725, 1147)


def test_the_pairs_behind_the_average_precision_are_kept_for_intervals_and_examples():
    from bothways.report.bootstrap import read_items

    rng = np.random.default_rng(2)
    first, labels = rng.standard_normal((90, 4)), rng.integers(0, 2, 90)
    texts = written(first), written(first * labels[:, None] + rng.standard_normal((90, 4)))
    score = PairClassification(*texts, labels.tolist()).run(Written(), RunOptions())
    assert read_items(score.details, score.metrics["similarity_ap"]) is not None
    kept = score.details["items"]["texts"][3]
    assert (kept["first"], kept["second"]) == (texts[0][kept["item"]], texts[1][kept["item"]])
