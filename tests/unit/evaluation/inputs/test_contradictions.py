"""Evaluation data that contradicts itself is refused where no meaning is left, and counted in one
line where some is.
"""

import json
import logging

import numpy as np
import pytest

from bothways.errors import InputError
from bothways.evaluation.registry import make_task
from bothways.evaluation.task import RunOptions
from bothways.evaluation.tasks.sts import STS


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING, logger="bothways")
    return caplog


def write(folder, **files):
    """Files by name, with an underscore for the dot; lists of objects as JSON lines."""
    for name, content in files.items():
        text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
        (folder / name.replace("__", "/").replace("_", ".")).write_text(text)
    return folder


pytest.importorskip("sklearn", reason="scikit-learn is not installed (pip install 'bothways[eval]')")


class Letters:
    """An encoder of letter counts."""

    def encode(self, texts, **options):
        return np.array([[text.count(letter) for letter in "abcdefgo"] for text in texts], dtype=np.float32) + 1e-3


TRAIN = "text,label\na good day,1\na bad day,0\na nice day,1\nan awful day,0\n"


def test_whole_numbers_of_pandas_are_the_same_labels(tmp_path):
    """One file written with 1 and 0, the other with 1.0 and 0.0."""
    folder = write(tmp_path, train_csv=TRAIN, test_csv="text,label\na good day,1.0\na bad day,0.0\n")
    task = make_task(f"classification:{folder}?shots=all")
    assert task.classes == ["0", "1"] and task.run(Letters(), RunOptions()).metrics["accuracy"] == 1.0


def test_labels_of_versions_stay(tmp_path):
    folder = write(tmp_path, train_csv="text,label\na,1.0\nb,1.5\n", test_csv="text,label\nc,1.0\nd,1.5\n")
    assert make_task(f"classification:{folder}?shots=all").classes == ["1.0", "1.5"]


def test_no_test_label_occurs_in_training(tmp_path):
    folder = write(tmp_path, train_csv=TRAIN, test_csv="text,label\na good day,good\na bad day,bad\n")
    with pytest.raises(
        InputError, match="none of the test labels occurs in training: 'bad', 'good' in test, '0', '1' in training"
    ):
        make_task(f"classification:{folder}?shots=all")


def test_doubtful_rows_of_a_classification(tmp_path, said):
    rows = "text,label\na new day,1\na bad day,0\nodd,2\nodd,0\n,1\n"
    folder = write(tmp_path, train_csv=TRAIN, test_csv=rows)
    score = make_task(f"classification:{folder}?shots=all").run(Letters(), RunOptions())
    assert score.details["test_texts_of_unknown_labels"] == 1
    lines = "\n".join(said.messages)
    assert "1 of 5 test texts have labels that do not occur in training ('2') and count as wrong" in lines
    assert "1 of 5 test texts occur in the training data too" in lines
    assert "1 texts occur with different labels" in lines
    assert "1 texts are empty" in lines


@pytest.mark.parametrize(
    "options, message",
    [
        ("folds=3", "folds=3, but the smallest class has 2 texts"),
        ("folds=2&method=knn&k=9", "k=9 neighbors of 2 training texts"),
    ],
)
def test_too_few_texts_are_seen_before_any_work(tmp_path, options, message):
    write(tmp_path, rows_csv=TRAIN)
    with pytest.raises(InputError, match=message):
        make_task(f"classification:{tmp_path / 'rows.csv'}?{options}")


def test_clusters_of_one_text(tmp_path):
    rows = [{"text": f"text {n}", "label": f"label {n}"} for n in range(4)]
    with pytest.raises(InputError, match="4 texts with 4 different labels"):
        make_task(f"clustering:{write(tmp_path, test_jsonl=rows)}")


def test_pairs_with_two_labels(tmp_path, said):
    rows = "sentence1,sentence2,label\na,b,1.0\na,b,0.0\nc,,0.0\n"
    make_task(f"pairs:{write(tmp_path, test_csv=rows)}")
    assert "1 pairs occur with different labels" in said.text and "1 texts are empty" in said.text


def scored(folder, scores, subsets=None):
    rows = [{"sentence1": f"a{n}", "sentence2": f"b{n}", "score": score} for n, score in enumerate(scores)]
    rows = rows if subsets is None else [{**row, "subset": name} for row, name in zip(rows, subsets)]
    return write(folder, test_jsonl=rows)


def test_scores_outside_their_scale(tmp_path, said):
    STS(scored(tmp_path, [0, 1, 2.5, 3, 4, 5, 4.5, 2, 1, 3, -1]))
    assert "1 of 11 scores are outside the scale of the others, 0 to 5 ('-1')" in said.text


@pytest.mark.parametrize("scores", [[0, 0.5, 1.0], [1, 3, 5], [0, 50, 100], [-1.0, 0.0, 1.0], [0.0, 2.0, 10.0]])
def test_scales_that_are_none_of_the_usual(tmp_path, said, scores):
    STS(scored(tmp_path, scores * 5))
    assert not said.messages


def test_subsets_of_one_score(tmp_path, said):
    folder = scored(tmp_path, [1, 2, 3, 3], ["x", "x", "y", "y"])
    STS(folder)
    assert "all scores are equal in subset 'y'" in said.text
    with pytest.raises(InputError, match=r"equal in 1 of 2 subsets \('y'\)"):
        STS(folder, aggregation="mean")


def test_a_pair_with_two_scores(tmp_path, said):
    rows = [{"sentence1": "a", "sentence2": "b", "score": score} for score in (1, 5)]
    STS(write(tmp_path, test_jsonl=rows))
    assert "1 pairs occur with different scores" in said.text


def test_a_similarity_is_the_same_both_ways(tmp_path, said):
    """("a", "b") and ("b", "a") are one pair, and a text with itself has a cosine of 1."""
    rows = [("a", "b", 1), ("b", "a", 5), ("c", "c", 0), ("d", "d", 5)]
    STS(write(tmp_path, test_jsonl=[dict(zip(("sentence1", "sentence2", "score"), row)) for row in rows]))
    assert "1 pairs occur with different scores" in said.text
    assert "1 pairs of equal texts do not have the highest score" in said.text
    said.clear()
    (tmp_path / "pairs").mkdir()
    table = "sentence1,sentence2,label\na,b,1\nb,a,0\nc,c,0\n"
    make_task(f"pairs:{write(tmp_path / 'pairs', test_csv=table)}")
    assert "1 pairs occur with different labels" in said.text and "1 pairs of equal texts" in said.text


def test_copies_and_repeated_queries_of_a_collection(tmp_path, said):
    folder = collection(tmp_path, [("q1", "d1", 1), ("q2", "d2", 1), ("q3", "d2", 1)], queries=("q1", "q2", "q3"))
    write(folder, corpus_jsonl=[{"_id": f"d{n}", "text": text} for n, text in enumerate(("x", "same", "y", "same"))])
    write(folder, queries_jsonl=[{"_id": f"q{n}", "text": text} for n, text in ((1, "one"), (2, "two"), (3, "one"))])
    make_task(f"retrieval:{folder}")
    assert "relevant documents of 1 queries have copies under other ids" in said.text
    assert "1 queries occur under several ids with different judgments" in said.text


def test_copies_that_are_all_relevant_are_fine(tmp_path, said):
    folder = collection(tmp_path, [("q1", "d1", 1), ("q1", "d3", 1)])
    write(folder, corpus_jsonl=[{"_id": f"d{n}", "text": text} for n, text in enumerate(("x", "same", "y", "same"))])
    make_task(f"retrieval:{folder}")
    assert not said.messages


def test_overlap_up_to_case_and_blanks(tmp_path, said):
    train = "text,label\na cat,x\na dog,x\na car,y\na bus,y\n"
    make_task(
        f"classification:{write(tmp_path, train_csv=train, test_csv='text,label' + chr(10) + ' A  Cat,x' + chr(10) + 'new,y')}"
    )
    assert "1 of 2 test texts occur in the training data too" in said.text


def test_one_query_with_contradicting_candidates(tmp_path, said):
    rows = [{"query": "a", "positive": ["x"], "negative": ["y"]}, {"query": "a", "positive": ["y"], "negative": ["x"]}]
    make_task(f"reranking:{write(tmp_path, test_jsonl=rows)}")
    assert "1 queries occur several times, and a right candidate of one is a wrong one of another" in said.text


def collection(folder, qrels, *, queries=("q1", "q2"), documents=("d1", "d2")):
    (folder / "qrels").mkdir()
    rows = "".join("\t".join(map(str, row)) + "\n" for row in qrels)
    return write(
        folder,
        corpus_jsonl=[{"_id": key, "text": f"text of {key}"} for key in documents],
        queries_jsonl=[{"_id": key, "text": f"query {key}"} for key in queries],
        qrels__test_tsv="query-id\tcorpus-id\tscore\n" + rows,
    )


@pytest.mark.parametrize(
    "qrels, message",
    [
        ([("q1", "d1", 0), ("q2", "d2", -1)], "none of the 2 judged queries has a relevant document"),
        ([("q1", "d1", 1), ("q3", "d2", 1)], "judges query 'q3', which is not in queries.jsonl"),
        ([("q1", "d8", 1), ("q2", "d9", 1), ("q2", "d1", 0)], "none of the relevant documents is in the corpus"),
        ([("q1", "d1", 1), ("q1", "d1", 0)], "row 3: query 'q1' and document 'd1' are judged twice, 1 and 0"),
        ([("q1", "d1", 0.5)], "row 2: score must be a whole number, got '0.5'"),
        ([("q1", "d1", "nan")], "row 2: score must be a whole number"),
        ([("q1", "d1", "9" * 6000)], "row 2: score must be a whole number"),
    ],
)
def test_judgments_without_a_meaning(tmp_path, qrels, message):
    with pytest.raises(InputError, match=message) as caught:
        make_task(f"retrieval:{collection(tmp_path, qrels)}")
    assert len(str(caught.value)) < 400


def test_doubtful_judgments(tmp_path, said):
    make_task(f"retrieval:{collection(tmp_path, [('q1', 'd1', '1.0'), ('q1', 'd9', 1), ('q2', 'd2', 0)])}")
    assert "1 of 2 judged queries do not have a relevant document ('q2') and count with 0" in said.text
    assert "1 of 2 relevant documents are not in the corpus" in said.text


def test_a_corpus_of_one_document(tmp_path):
    with pytest.raises(InputError, match="the corpus has only one document"):
        make_task(f"retrieval:{collection(tmp_path, [('q1', 'd1', 1)], documents=('d1',))}")


@pytest.mark.parametrize("above", ["nan", "inf", "-inf"])
def test_nothing_is_above_what_is_no_number(tmp_path, above):
    with pytest.raises(InputError, match="above must be a number"):
        make_task(f"retrieval:{scored(tmp_path, [1, 2, 3])}?above={above}")


def test_reranking_says_what_it_leaves_out(tmp_path, said):
    rows = [
        {"query": "a", "positive": ["x"], "negative": ["y", "x"]},
        {"query": "b", "positive": [], "negative": ["y"]},
        {"query": "c", "positive": ["x"], "negative": []},
    ]
    make_task(f"reranking:{write(tmp_path, test_jsonl=rows)}")
    assert "left out 2 of 3 queries: 1 without a right candidate (no score), 1 without a wrong one" in said.text
    assert "in 1 queries a text is both a right and a wrong candidate" in said.text


def test_lists_in_tables(tmp_path):
    """Sets of clustering and rows of reranking that pandas wrote as CSV."""
    pandas = pytest.importorskip("pandas")
    (tmp_path / "sets").mkdir()
    table = pandas.DataFrame({"sentences": [["it's a", "b", "c"]], "labels": [[1, 2, 1]]})
    table.to_csv(tmp_path / "sets" / "test.csv", index=False)
    task = make_task(f"clustering:{tmp_path / 'sets'}")
    assert [part.texts for part in task.sets] == [("it's a", "b", "c")] and task.sets[0].labels == ("1", "2", "1")
    pandas.DataFrame({"query": ["q"], "positive": [["a", "b's"]], "negative": [["c"]]}).to_csv(
        tmp_path / "test.csv", index=False
    )
    (found,) = make_task(f"reranking:{tmp_path / 'test.csv'}").queries
    assert (found.positive, found.negative) == (["a", "b's"], ["c"])


def test_tags_that_training_lacks(tmp_path, said):
    known = "a DT B-NP O\nb NN I-NP B-PER\n\n"
    folder = write(tmp_path, train_txt=known, dev_txt=known, test_txt="c DT B-NP O\nd XX I-NP B-PER\n\n")
    make_task(f"words:{folder}")
    assert "1 of 2 test words have pos tags that do not occur in training ('XX')" in said.text
    write(tmp_path, test_txt="c D B-NP O\nd N I-NP B-PER\n\n")
    with pytest.raises(InputError, match="none of the test pos tags occurs in training"):
        make_task(f"words:{folder}")


def test_a_split_of_a_hub_folder(tmp_path):
    """A data set as it is downloaded: the split is a file of its own below data/."""
    (tmp_path / "data").mkdir()
    rows = [{"sentence1": f"a{n}", "sentence2": f"b{n}", "score": n} for n in range(3)]
    write(tmp_path, **{"data__test-00000-of-00001_jsonl": rows, "data__train-00000-of-00001_jsonl": rows[:2]})
    assert len(STS(tmp_path).pairs.gold) == 3
