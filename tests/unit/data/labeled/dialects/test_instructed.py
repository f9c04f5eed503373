"""Rows of GritLM, INSTRUCTOR and AnglE, and columns that nobody reads."""

import pytest

from bothways.data.labeled.labeled_reader import read_examples
from bothways.errors import InputError
from files import write_jsonl

ASK, GIVE = "Represent the question", "Represent the passage"


def read(tmp_path, row, name="rows.jsonl", **options):
    return read_examples(write_jsonl(tmp_path / name, [row]), **options)


@pytest.mark.parametrize(
    "row",
    [
        {"query": [ASK, "q"], "pos": [[GIVE, "p"], [GIVE, "r"]], "neg": [[GIVE, "n"]]},
        {"query": [ASK, "q"], "pos": [[GIVE, "p"], [GIVE, "r"]], "neg": [[GIVE, "n"], ["Other words", ""]]},
    ],
)
def test_pairs_of_gritlm(tmp_path, row):
    (found,) = read(tmp_path, row, template="plain")
    assert (found.query, found.positives, found.negatives) == ("q", ("p", "r"), ("n",))
    assert (found.query_prompt, found.document_prompt) == (f"{ASK} ", f"{GIVE} ")


def test_documents_without_an_instruction(tmp_path):
    (found,) = read(tmp_path, {"query": [ASK, "q"], "pos": [["", "p"]], "neg": [["", "n"]]})
    assert (found.query_prompt, found.document_prompt) == (f"Instruct: {ASK}\nQuery: ", "")
    assert (found.positives, found.negatives) == (("p",), ("n",))


def test_instructions_that_differ_are_part_of_their_texts(tmp_path):
    (found,) = read(tmp_path, {"query": ["", "q"], "pos": [[GIVE, "p"]], "neg": [["Other", "n"]]}, template="plain")
    assert (found.query_prompt, found.document_prompt) == ("", "")
    assert (found.positives, found.negatives) == ((f"{GIVE} p",), ("Other n",))


def test_pairs_of_instructor(tmp_path):
    (found,) = read(tmp_path, {"query": [ASK, "q"], "pos": [GIVE, "p"], "neg": [GIVE, "n"]}, template="plain")
    assert (found.query, found.positives, found.negatives) == ("q", ("p",), ("n",))
    assert (found.query_prompt, found.document_prompt) == (f"{ASK} ", f"{GIVE} ")


def test_pairs_that_pandas_wrote_as_csv(tmp_path):
    pandas = pytest.importorskip("pandas")
    row = {"query": [ASK, "q's"], "pos": [[GIVE, "p"]], "neg": [[GIVE, "n"]]}
    pandas.DataFrame([row]).to_csv(tmp_path / "rows.csv", index=False)
    (found,) = read_examples(tmp_path / "rows.csv", template="plain")
    assert (found.query, found.positives, found.query_prompt) == ("q's", ("p",), f"{ASK} ")


@pytest.mark.parametrize(
    "row, message",
    [
        ({"query": [ASK, "q", "more"], "pos": [[GIVE, "p"]]}, "row 1: query holds 3 values; expected a text, or"),
        ({"query": "q", "pos": [[GIVE]]}, r"row 1: pos\[0\] holds 1 values"),
        (
            {"query": [ASK, "q"], "pos": ["p", "r", "s"]},
            "row 1: the query is a pair of instruction and text, but pos or neg hold texts",
        ),
        ({"query": [ASK, 1], "pos": [[GIVE, "p"]]}, r"row 1: column 'query\[1\]' holds a number"),
    ],
)
def test_pairs_that_are_none(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, row)


def test_plain_lists_stay_lists(tmp_path):
    assert read(tmp_path, {"query": "q", "pos": ["p", "r"], "neg": ["n", "m"]})[0].positives == ("p", "r")


def test_pairs_of_angle(tmp_path):
    rows = [{"text1": "a", "text2": "b", "label": 1}, {"text1": "a", "text2": "c", "label": 0}]
    found = read_examples(write_jsonl(tmp_path / "rows.jsonl", rows))
    assert [(example.query, example.positives) for example in found] == [("a", ("b",)), ("b", ("a",))]
    # copies of GLUE with names of labels: 1 is "not entailed" in some
    with pytest.raises(InputError, match="fit no known dialect"):
        read(tmp_path, {**rows[0], "label_text": "not_entailment"}, "glue.jsonl")


@pytest.mark.parametrize(
    "row, column",
    [
        ({"query": "q", "pos": ["p"], "neg": ["n"], "negative_2": "m"}, "negative_2"),
        ({"query": "q", "positive": "p", "negative": "n", "pos_scores": [1.0]}, "pos_scores"),
        ({"sent0": "a", "sent1": "b", "hard_neg": "c", "instruction": "Find it."}, "instruction"),
        ({"query": "q", "response": "p", "system": "Find it."}, "system"),
        ({"query": "q", "document": "p", "hard_negatives_2": ["n"]}, "hard_negatives_2"),
    ],
)
def test_columns_that_could_train_are_not_dropped_in_silence(tmp_path, caplog, row, column):
    caplog.set_level("WARNING", logger="bothways")
    read(tmp_path, row)
    assert f"column '{column}' is not read in this dialect" in caplog.text


def test_columns_that_are_harmless_or_read_are_not_named(tmp_path, caplog):
    caplog.set_level("WARNING", logger="bothways")
    row = {
        "query_id": 1,
        "query": "q",
        "pos": ["p"],
        "neg": ["n"],
        "neg_scores": [0.1],
        "label": "x",
        "type": "t",
        "source": "s",
    }
    read(tmp_path, {**row, "pos_ids": [1], "prompt": "Find it."})
    assert not caplog.messages
