"""Triplets by premise: what is paired with what, and that everything else is accounted for."""

import itertools

import pytest

from bothways.data.conversion.nli import Inference, triplets
from bothways.data.conversion.options import NliOptions
from bothways.data.decontamination import Overlap
from bothways.data.labeled.example import Example
from bothways.data.labeled.templates import Prompts
from bothways.errors import InputError

E, N, C = "entailment", "neutral", "contradiction"


def table(*rows):
    return [Inference(*row, number) for number, row in enumerate(rows, start=1)]


ROWS = table(
    ("p", "e1", E),
    ("only e", "e", E),
    ("p", "c1", C),
    ("p", "n", N),
    ("p", "e2", E),
    ("p", "e3", E),
    ("p", "c2", C),
    ("p", "e1", E),
    ("only c", "c", C),
    ("odd", "both", E),
    ("odd", "both", C),
    ("single", "e", E),
    ("single", "c", C),
)


def test_every_entailment_with_a_contradiction_of_its_premise():
    converted = triplets(ROWS, NliOptions(task="t", prompts=Prompts("q: ", "d: ")))
    shown = [(x.query, x.positives, x.task, x.query_prompt, x.document_prompt) for x in converted.examples]
    assert shown == [(p, (e,), "t", "q: ", "d: ") for p, e in (("p", "e1"), ("p", "e2"), ("p", "e3"), ("single", "e"))]
    negatives = [x.negatives for x in converted.examples[:3]]
    assert {*negatives[0], *negatives[1]} == {"c1", "c2"} and negatives[2] == negatives[0]  # in turn, then from the first again
    assert converted.dropped == {
        "neutral": 1,
        "repeated": 1,
        "with contradicting labels": 2,
        "hypotheses of a premise without contradiction": 1,
        "hypotheses of a premise without entailment": 1,
    }
    assert converted.rows == 13 == sum(converted.dropped.values()) + 5 + 2  # five hypotheses of p, two of single
    assert converted.first["repeated"] == 8


def test_rows_of_one_premise_are_not_each_others_negatives():
    labels = [example.label for example in triplets(ROWS).examples]
    assert labels[0] == labels[1] == labels[2] is not None and labels[3] is None


def test_other_pairings():
    one = triplets(ROWS, NliOptions(pairing="one_to_one"))
    assert [x.query for x in one.examples] == ["p", "p", "single"]
    used = [text for x in one.examples[:2] for text in (*x.positives, *x.negatives)]
    assert len(set(used)) == 4 and one.dropped["hypotheses without a counterpart"] == 1
    whole = triplets(ROWS, NliOptions(pairing="premise", task="nli"))
    assert whole.examples == [
        Example("p", ("e1", "e2", "e3"), ("c1", "c2"), task="nli"),
        Example("single", ("e",), ("c",), task="nli"),
    ]
    with pytest.raises(InputError, match="pairing: 'all'"):
        triplets(ROWS, NliOptions(pairing="all"))  # type: ignore[arg-type]


def test_seeds_decide_who_meets_whom_and_nothing_else_does():
    rows = table(*[("p", f"{kind[0]}{n}", kind) for kind, n in itertools.product((E, C), range(20))])
    first = triplets(rows, NliOptions(seed=1)).examples
    assert first == triplets(rows, NliOptions(seed=1)).examples
    assert first != triplets(rows, NliOptions(seed=2)).examples
    more = table(("other", "x", E), ("other", "y", C), *[(r.premise, r.hypothesis, r.label) for r in rows])
    assert triplets(more, NliOptions(seed=1)).examples[1:] == first


def test_evaluation_texts_are_used_as_neither():
    converted = triplets(ROWS, NliOptions(without=Overlap(["E1.", "Single"])))
    assert [x.positives for x in converted.examples] == [("e2",), ("e3",)]
    assert converted.dropped["held by evaluation data"] == 4  # e1 twice, and both rows of the premise
    assert {match.text for match in converted.matches} == {"e1", "single"}
