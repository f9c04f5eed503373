"""ms-swift's rows: system messages, labels of pairs, rows that need more than text."""

from bothways.data.labeled.example import Example
from bothways.data.labeled.labeled_reader import read_examples
from files import write_jsonl


def user(text, system=None):
    return [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": text}]


def test_ms_swift_system_message_is_an_instruction(tmp_path):
    row = {"messages": user("q", "Find it."), "positive_messages": [user("p")], "negative_messages": None}
    example = read_examples(write_jsonl(tmp_path / "a.jsonl", [row]))[0]
    assert (example.query_prompt, example.document_prompt, example.query) == ("Find it. ", "", "q")


def test_ms_swift_system_messages_that_differ(tmp_path, told):
    """Its own example: one of the positives has an instruction, the negative none."""
    row = {"messages": user("q"), "positive_messages": [user("p", "Find it.")], "negative_messages": [user("n"), user("", "x")]}
    assert read_examples(write_jsonl(tmp_path / "a.jsonl", [row])) == [Example("q", ("Find it. p",), ("n",), task="a")]
    assert "system messages that differ within a row as part of their texts" in told.text


def test_ms_swift_reranker_rows_and_rows_with_images(tmp_path, told):
    """Documents of its reranker data are the assistant's (BestPractices/Reranker.md)."""

    def said(text):
        return [{"role": "assistant", "content": text}]

    rows = [
        {"messages": user("q"), "positive_messages": [said("p"), said("r")], "negative_messages": [said("n")]},
        {"messages": user("<image>"), "images": ["a.jpg"], "positive_messages": [user("p")]},
        {"messages": user("a"), "positive_messages": [user("<image>")], "positive_images": [["a.jpg"]]},
        {"messages": user("b"), "positive_messages": [user("p")], "images": []},
    ]
    assert [(e.query, e.positives) for e in read_examples(write_jsonl(tmp_path / "a.jsonl", rows))] == [
        ("q", ("p", "r")),
        ("b", ("p",)),
    ]
    assert "2 with images, video or audio (first: row 2)" in told.text


def test_ms_swift_labels(tmp_path, told):
    rows = [{"query": f"q{label}", "response": "p", "label": label} for label in (1, 0, 0.8, 0.79, None)]
    assert [e.query for e in read_examples(write_jsonl(tmp_path / "a.jsonl", rows))] == ["q1", "q0.8", "qNone"]
    assert "2 labeled below 0.8 (first: row 2)" in told.text
