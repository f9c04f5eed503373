"""Everything that sentence-transformers mines is read back."""

import pytest

from bothways.data.labeled.example import Example
from bothways.data.labeled.labeled_reader import read_examples
from files import write_jsonl

MINED = {"triplet": 1, "n-tuple": 2, "labeled-pair": 2, "labeled-list": 2}


@pytest.mark.parametrize("form", MINED)
@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("names", [("anchor", "positive"), ("query", "positive"), ("question", "answer")])
def test_everything_that_sentence_transformers_mines(tmp_path, form, scored, names):
    """The rows of `mine_hard_negatives` by output_format and output_scores; no negative comes out
    as an answer.
    """
    one, two = names
    rows = {
        "triplet": [{one: "q", two: "p", "negative": "m", "scores": [0.9, 0.5]}],
        "n-tuple": [{one: "q", two: "p", "negative_1": "m", "negative_2": "n", "scores": [0.9, 0.5, 0.25]}],
        "labeled-pair": [{one: "q", two: text, "label": int(text == "p"), "score": 0.5} for text in "pmn"],
        "labeled-list": [{one: "q", two: ["p", "m", "n"], "labels": [1, 0, 0], "scores": [0.9, 0.5, 0.25]}],
    }[form]
    gone = {"scores", "score"} if not scored or form == "labeled-pair" else set()
    path = write_jsonl(tmp_path / "a.jsonl", [{key: value for key, value in row.items() if key not in gone} for row in rows])
    (example,) = read_examples(path, dialect="sentence-transformers" if one == "question" else None)
    assert (example.query, example.positives, example.negatives) == ("q", ("p",), ("m", "n")[: MINED[form]])
    expected = ((0.9,), (0.5, 0.25)[: MINED[form]]) if scored and not gone else (None, None)
    assert (example.positive_scores, example.negative_scores) == expected


def test_labelled_pairs_of_sentence_transformers(tmp_path, told):
    """Rows of an anchor come together wherever they stand; an anchor that nothing answers makes no
    example.
    """
    pairs = [("a", "n", 0), ("b", "n", "0"), ("a", "p", 1.0), ("c", "p", True)]
    path = write_jsonl(tmp_path / "a.jsonl", [{"anchor": a, "positive": text, "label": label} for a, text, label in pairs])
    assert read_examples(path) == [Example("a", ("p",), ("n",), task="a"), Example("c", ("p",), task="a")]
    assert "4 rows, 2 examples, 1 skipped; 1 without a positive (first: row 2)" in told.text
    # a margin or a class beside negatives says nothing of a text by itself
    margin = write_jsonl(tmp_path / "m.jsonl", [{"query": "q", "positive": "p", "negative": "n", "score": 0.3, "label": 7}])
    assert read_examples(margin) == [Example("q", ("p",), ("n",), task="m")]
    assert "labels next to negatives ignored; one score a row ignored" in told.text
