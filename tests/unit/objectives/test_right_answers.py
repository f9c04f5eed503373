"""No right answer is pushed away: what the loss sees of a batch, against a loop over what the data
says.
"""

from __future__ import annotations

import logging

import pytest
import torch

from bothways.data.labeled.example import Example
from bothways.errors import InputError
from bothways.objectives.supervised import SupervisedConfig
from unit.objectives.small_encoder import make_encoder

CAT = "where is the cat"


def ready(rows, batch=None, **options):
    encoder = make_encoder()[0]
    objective = SupervisedConfig(**{"max_length": 32, **options}).build(encoder)
    prepared = list(objective.prepare(rows, encoder))
    chosen = prepared if batch is None else [prepared[number] for number in batch]
    return encoder, objective, prepared, objective.collate(chosen, torch.Generator().manual_seed(0))


def masked(rows, batch=None, **options) -> float:
    encoder, objective, _, made = ready(rows, batch, **options)
    result = objective.step(encoder, made, scale=1.0, backward=lambda *_, **__: None, seed=0)
    return round(float(result.metrics["masked"]) * made.rows, 4)


@pytest.mark.parametrize("again", [CAT, "where is  the\tcat ", "Where is the cat?", "where is the\u00a0cat\n"])
def test_other_rows_answers_to_the_same_query_are_left_out(again: str) -> None:
    rows = [Example(CAT, ("On the sill.",)), Example(again, ("By the window.",)), Example("which river", ("The Rhine.",))]
    assert masked(rows) == 2
    assert masked(rows[::2]) == 0


def test_an_answer_of_a_row_outside_the_batch_is_known() -> None:
    rows = [
        Example(CAT, ("On the sill.",)),
        Example(CAT, ("By the window.",)),
        Example("which view", ("a garden",), ("By the window.",)),
    ]
    assert masked(rows, batch=[0, 2]) == 1


def test_pairs_of_equals_answer_each_other() -> None:
    rows = [Example("a b", ("b a",)), Example("b a", ("c d",)), Example("e", ("f",))]
    # "b a" is answered by "a b" and is the first row's answer; the query itself is a column of its
    # own row too
    assert masked([*rows, Example("x", ("a b",))]) == 3


def test_own_negatives_that_are_answers_are_dropped_with_their_scores(caplog) -> None:
    rows = [
        Example(CAT, ("On the sill.",), ("By the  window.", "In the sea."), (0.9,), (0.8, 0.1)),
        Example(CAT, ("By the window.",), (CAT,)),
        Example("good one", ("fine film",), ("great film", "bad film"), task="mood", label="good"),
        Example("great film", ("fine film",), ("bad film",), task="mood", label="good"),
        # no label says that these are alike, and letter for letter they are not
        Example("sum", ("-5",), ("5",)),
    ]
    with caplog.at_level(logging.WARNING, logger="bothways"):
        _, _, prepared, _ = ready(rows)
    assert [row.negatives for row in prepared] == [("In the sea.",), (), ("bad film",), ("bad film",), ("5",)]
    assert prepared[0].negative_scores == (0.1,)
    assert "3 negatives of 3 rows are left out" in caplog.text
    assert list(ready(rows, false_negatives=None)[2]) == rows


def test_all_labels_of_a_text_count_and_negatives_of_other_rows_have_theirs() -> None:
    def row(text: str, positive: str, negative: str, labels, positive_labels, negative_labels) -> Example:
        return Example(text, (positive,), (negative,), task="t", label=labels[0], labels=labels, positive_labels=(positive_labels,),
                       negative_labels=(negative_labels,))  # fmt: skip

    rows = [
        row("q1", "p1", "n1", ("cl", "lg"), ("cl",), ("cv",)),
        row("q2", "p2", "n2", ("lg",), ("lg",), ("cl",)),
        row("q3", "p3", "n3", ("cv",), ("cv", "lg"), ("cl", "db")),
    ]
    labels = {"q1": {"cl", "lg"}, "q2": {"lg"}, "q3": {"cv"}}
    columns = {"p1": {"cl"}, "p2": {"lg"}, "p3": {"cv", "lg"}, "n1": {"cv"}, "n2": {"cl"}, "n3": {"cl", "db"}}
    expected = sum(bool(labels[q] & have) for q in labels for name, have in columns.items() if name != "p" + q[1])
    assert masked(rows) == expected == 6


@pytest.mark.parametrize("in_batch", [{"labeled": False}, "unlabeled"])
def test_in_batch_negatives_can_differ_by_task(in_batch) -> None:
    rows = [
        Example("a cat", ("an animal",), ("a car",), task="labeled", label="x"),
        Example("a tree", ("a plant",), ("a house",), task="labeled", label="y"),
        Example("a river", ("the Rhine",), (), task="plain"),
        Example("a hill", ("the Alps",), (), task="plain"),
    ]
    encoder, objective, _, batch = ready(rows, in_batch=in_batch, scale=5.0, batch_tokens=64)
    result = objective.step(encoder, batch, scale=1.0, backward=lambda *_, **__: None, seed=0)
    with torch.no_grad():
        vectors = torch.cat([encoder(part) for part in batch.passes])[batch.order].double()
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    query, columns = vectors[:4], vectors[4:]
    seen = [[0, 4], [1, 5], range(6), range(6)]
    expected = 0.0
    for number, places in enumerate(seen):
        logits = 5 * query[number] @ columns[list(places)].T
        expected -= float(logits[list(places).index(number)] - logits.logsumexp(0))
    assert float(result.loss_sum) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(InputError, match="no rows of a task 'other'"):
        ready(rows, in_batch={"other": False})


def test_a_row_without_a_column_beside_its_answer_does_not_count(caplog) -> None:
    rows = [
        Example("a cat", ("an animal",), ("a car",), task="t"),
        Example("a tree", ("a plant",), task="t"),
        Example("a hill", ("the Alps",), task="t"),
    ]
    with caplog.at_level(logging.WARNING, logger="bothways"):
        _, objective, _, batch = ready(rows, in_batch=False)
    assert objective.count(batch) == 1
    assert "2 of 3 rows (66.7 %) that have no negatives (2 of 3 in t)" in caplog.text
    _, objective, _, batch = ready([Example(CAT, (text,)) for text in ("here", "there", "nowhere")])
    assert objective.count(batch) == 0  # all are answers to one query
    _, objective, _, batch = ready(rows)
    assert objective.count(batch) == 3
