"""Rows become examples, and everything that is left out of them is counted."""

from bothways.data.labeled.example import Example
from bothways.data.labeled.labeled_reader import read_examples
from files import write_jsonl

QUERY, POSITIVE, FIRST, SECOND = "what is a cat", "A cat is an animal.", "A car has wheels.", "猫がいる"


def test_dirt_is_passed_over_and_counted(tmp_path, told):
    """Empty texts go with their scores; a negative that is a positive would teach the opposite of
    itself; repetitions go.
    """
    good = {
        "query": QUERY,
        "pos": ["", POSITIVE],
        "pos_scores": [1.0, 2.0],
        "neg": [POSITIVE, " \n", FIRST],
        "neg_scores": [3, 4, 5],
    }
    rows = [good, {**good, "query": "\t"}, {**good, "pos": ["", " "], "pos_scores": None}, good, {**good, "query": "\ud800"}]
    examples = read_examples(write_jsonl(tmp_path / "a.jsonl", rows))
    assert examples == [
        Example(QUERY, (POSITIVE,), (FIRST,), (2.0,), (5.0,), task="a"),
        Example("\ufffd", (POSITIVE,), (FIRST,), (2.0,), (5.0,), task="a"),
    ]
    assert "5 rows, 2 examples, 3 skipped; 1 without a query (first: row 2), 1 without a positive (first: row 3)" in told.text
    assert "1 repeated (first: row 4)" in told.text
    assert "3 negatives equal to a positive left out (first: row 1)" in told.text
    assert "1 lone surrogates became U+FFFD (first: row 5)" in told.text


def test_a_text_that_its_row_repeats_counts_once(tmp_path, told):
    """Twice among the columns of the softmax, it would weigh twice; its first score stays."""
    row = {
        "query": "q",
        "pos": ["p", "p"],
        "pos_scores": [3, 1],
        "neg": ["n", "p", "m", "n", "p"],
        "neg_scores": [5, 4, 3, 2, 1],
    }
    assert read_examples(write_jsonl(tmp_path / "a.jsonl", [row])) == [
        Example("q", ("p",), ("n", "m"), (3.0,), (5.0, 3.0), task="a")
    ]
    assert "3 texts repeated in their row left out (first: row 1), 1 negatives equal to a positive left out" in told.text


def test_prompts_of_the_file_and_of_the_caller(tmp_path):
    """FlagEmbedding: the passages of similarity and clustering carry the prompt too, label texts do
    not (AbsDataset.py).
    """
    base = {"query": "q", "pos": ["p"], "prompt": "Find it."}
    kinds = ["normal", "symmetric_sts", "symmetric_clustering", "symmetric_class"]
    path = write_jsonl(tmp_path / "a.jsonl", [{**base, "query": kind, "type": kind} for kind in kinds])
    written = "Instruct: Find it.\nQuery: "
    assert [(e.query_prompt, e.document_prompt) for e in read_examples(path)] == [
        (written, ""),
        (written, written),
        (written, written),
        (written, ""),
    ]
    assert {e.query_prompt for e in read_examples(path, template="llm2vec")} == {"Find it: "}
    # symmetric rows stay symmetric under a prompt of the caller's, the others get what was asked
    # for
    assert [e.document_prompt for e in read_examples(path, query_prompt="A: ")] == ["", "A: ", "A: ", ""]
    assert {(e.query_prompt, e.document_prompt) for e in read_examples(path, query_prompt="", document_prompt="B: ")} == {
        ("", "B: ")
    }
    literal = write_jsonl(tmp_path / "b.jsonl", [{**base, "prompt": "query: "}])
    assert read_examples(literal)[0].query_prompt == "query: "
