"""One table of column names: training and evaluation read the same file in the same way."""

import json

import pytest

from bothways.data import columns
from bothways.data.conversion.clustering import DocumentColumns, read_titled_documents
from bothways.data.evaluation_texts import read_evaluation_texts
from bothways.data.labeled.example import Example
from bothways.data.labeled.graded_pairs import read_pairs
from bothways.data.labeled.labeled_reader import read_examples
from bothways.data.labeled.labeled_text import read_labeled
from bothways.data.text.readers import read_texts
from bothways.errors import InputError
from bothways.evaluation.inputs.labeled_sets import class_numbers, read_labeled_set, read_labeled_sets
from bothways.evaluation.inputs.named_data import gold_pairs
from bothways.evaluation.inputs.pair_collection import read_pair_collection
from bothways.evaluation.tasks.pairs import PairClassification
from bothways.evaluation.tasks.reranking import Candidates, read_candidates
from files import write_jsonl

NOTHING = dict.fromkeys(("query", "positive", "negative", "candidate", "label"))


@pytest.mark.parametrize("text", columns.LABELED_TEXT)
@pytest.mark.parametrize("label", columns.LABEL)
def test_labeled_text_is_read_alike(tmp_path, text, label):
    path = write_jsonl(tmp_path / "a.jsonl", [{text: "one", label: "x"}, {text: "two", label: "y"}])
    trained = read_labeled(path)
    scored = read_labeled_set(path)
    assert [item.text for item in trained] == list(scored.texts) == ["one", "two"]
    assert [item.label for item in trained] == list(scored.labels) == ["x", "y"]


@pytest.mark.parametrize(("table", "rest"), [(columns.LABEL, {"text": "t"}), (columns.LABELED_TEXT, {"label": "l"})])
def test_the_order_of_precedence_is_one(tmp_path, table, rest):
    """A file that has a name and all that come after it is read by that name, in training and in
    evaluation.
    """
    for place in range(len(table)):
        row = {name: f"{name} {{}}" for name in table[place:]} | {name: f"{value} {{}}" for name, value in rest.items()}
        if "label" in rest:
            row.pop("label_text", None)
        rows = [{name: value.format(number) for name, value in row.items()} for number in (1, 2)]
        path = write_jsonl(tmp_path / "a.jsonl", [dict(reversed(each.items())) for each in rows])
        item, scored = read_labeled(path)[0], read_labeled_set(path)
        value = item.label if table is columns.LABEL else item.text
        same = scored.labels[0] if table is columns.LABEL else scored.texts[0]
        assert value == same == f"{table[place]} 1"


def test_labels_in_every_spelling_are_read_alike(tmp_path):
    for name, text, expected in (
        ("a.csv", "text,label\nx,1.0\ny,2.0\n", ["1", "2"]),
        ("b.jsonl", '{"text": "x", "label": true}\n{"text": "y", "label": false}\n', ["1", "0"]),
        ("c.csv", "text,label\nx, a \ny,2.5\n", ["a", "2.5"]),
    ):
        (tmp_path / name).write_text(text)
        assert [item.label for item in read_labeled(tmp_path / name)] == expected
        assert list(read_labeled_set(tmp_path / name).labels) == expected


def test_rows_that_are_sets_are_read_alike(tmp_path):
    rows = [{"sentences": ["a", "b"], "labels": [0, 1]}, {"sentences": ["c", "d"], "labels": ["x", "y"]}]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    assert [part.texts for part in read_labeled_sets(path, split="test")] == [("a", "b"), ("c", "d")]
    assert [(item.text, item.label) for item in read_labeled(path)] == [("a", "0"), ("b", "1"), ("c", "x"), ("d", "y")]


def test_several_labels_train_and_are_not_scored(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "x", "label": ["a", "b"]}, {"text": "y", "label": "b"}])
    assert read_labeled(path)[0].labels == ("a", "b")
    with pytest.raises(InputError, match="row 1: 2 labels; expected one label a row"):
        read_labeled_set(path)


def test_classes_keep_the_order_of_their_numbers(tmp_path):
    """Class 1 is the positive one of two (average precision), so a name may not change which class
    that is.
    """
    rows = [{"text": "x", "label": 1, "label_text": "counterfactual"}, {"text": "y", "label": 0, "label_text": "factual"}]
    found = read_labeled_set(write_jsonl(tmp_path / "a.jsonl", rows))
    assert found.labels == ("counterfactual", "factual")
    assert class_numbers(found.labels, found.numbers) == ([1, 0], ["factual", "counterfactual"])
    # numbers that do not tell the names apart order nothing
    rows[1]["label"] = 1
    assert read_labeled_set(write_jsonl(tmp_path / "b.jsonl", rows)).numbers is None


def test_a_lone_surrogate_is_repaired_for_training_and_refused_for_evaluation(tmp_path):
    rows = [{"text": "a\ud800", "label": "x"}, {"text": " ", "label": "y"}]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [item.text for item in read_labeled(path)] == ["a\ufffd", ""]
    with pytest.raises(InputError, match="row 1: column 'text' holds a lone surrogate"):
        read_labeled_set(path)
    assert columns.read_text("f", "c", " ", surrogates="refuse") == " "


@pytest.mark.parametrize("score", columns.SCORE)
@pytest.mark.parametrize("pair", columns.PAIR)
def test_scored_pairs_are_read_alike(tmp_path, pair, score):
    rows = [{pair[0]: "a", pair[1]: "b", score: 5.0}, {pair[0]: "c", pair[1]: "d", score: 1.0}]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    assert read_examples(path) == [Example("a", ("b",), task="a"), Example("b", ("a",), task="a")]
    assert read_pairs(path).scores == [5.0, 1.0] and gold_pairs(path).first == ("a", "c")
    assert read_pair_collection(path, above=4).qrels == {"q00000000": {"d00000000": 1}}


@pytest.mark.parametrize("name", columns.DUPLICATE)
def test_duplicates_are_read_alike(tmp_path, name):
    rows = [{"question1": "a", "question2": "b", name: 1}, {"question1": "c", "question2": "d", name: 0}]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    assert [example.query for example in read_examples(path)] == ["a", "b"]
    assert PairClassification.from_argument(str(path)).labels.tolist() == [1, 0]


@pytest.mark.parametrize("query", columns.QUERY)
@pytest.mark.parametrize("positive", columns.POSITIVE)
@pytest.mark.parametrize("negative", columns.NEGATIVE)
def test_queries_with_positives_and_negatives_are_read_alike(tmp_path, query, positive, negative):
    path = write_jsonl(tmp_path / "a.jsonl", [{query: "q", positive: ["p", "r"], negative: ["n"]}])
    assert read_candidates(path, split="test", columns=NOTHING) == [Candidates("q", ["p", "r"], ["n"])]
    assert [(each.query, each.positives, each.negatives) for each in read_examples(path)] == [("q", ("p", "r"), ("n",))]


@pytest.mark.parametrize(("query", "document"), columns.ANSWERED)
def test_queries_and_documents_are_read_alike(tmp_path, query, document):
    path = write_jsonl(tmp_path / "a.jsonl", [{query: "q", document: "d"}, {query: "r", document: "e"}])
    assert [(each.query, each.positives) for each in read_examples(path)] == [("q", ("d",)), ("r", ("e",))]
    assert list(read_pair_collection(path).queries.values()) == ["q", "r"]


@pytest.mark.parametrize("label", columns.ANSWERS)
@pytest.mark.parametrize(("query", "document"), columns.ANSWERED)
def test_candidates_with_a_label_are_read_alike(tmp_path, query, document, label):
    rows = [{query: "q", document: text, label: int(text == "p")} for text in "pnm"]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    assert read_candidates(path, split="test", columns=NOTHING) == [Candidates("q", ["p"], ["n", "m"])]
    assert [(each.query, each.positives, each.negatives) for each in read_examples(path)] == [("q", ("p",), ("n", "m"))]


@pytest.mark.parametrize("name", columns.EVALUATED)
def test_every_text_of_an_evaluation_set_is_known(tmp_path, name):
    path = write_jsonl(tmp_path / "a.jsonl", [{name: "x"}, {name: ["y", "z"]}])
    assert read_evaluation_texts([path]) == ["x", "y", "z"]


@pytest.mark.parametrize("name", columns.TEXT)
def test_single_texts(tmp_path, name):
    assert read_texts(write_jsonl(tmp_path / "a.jsonl", [{name: "x", "id": "1"}])) == ["x"]


@pytest.mark.parametrize("title", columns.TITLE)
def test_titles_and_bodies(tmp_path, title):
    path = write_jsonl(tmp_path / "a.jsonl", [{title: "t", "abstract": "b", "category": "c"}])
    assert (
        read_titled_documents(path)[0].text == "t" and read_titled_documents(path, DocumentColumns(form="p2p"))[0].text == "b"
    )


def test_pairs_of_columns_come_in_couples():
    row = {"text2": "", "sentence_A": "", "sentence_B": "", "x": ""}
    assert columns.find_pair("f", row) == ("sentence_A", "sentence_B")
    assert columns.find_pair("f", row, asked=("x", None)) == ("x", "sentence_B")
    assert columns.find_pair("f", row, asked=("x", "text2")) == ("x", "text2")
    with pytest.raises(InputError, match="no column for first, such as 'sentence1'; name it with first=, one of: a"):
        columns.find_pair("f", {"a": ""})
