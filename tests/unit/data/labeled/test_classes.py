"""Labels that are classes, and documents that are names of classes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import bothways as bw
from bothways.data.conversion.by_example import by_example
from bothways.data.conversion.classification import by_label, classification, settled
from bothways.data.conversion.converted import write_examples
from bothways.data.conversion.options import ClassOptions
from bothways.data.labeled.classes import documents_are_labels, without_classes
from bothways.data.labeled.example import Example
from bothways.data.labeled.labeled_reader import read_examples
from bothways.data.labeled.labeled_text import LabeledText
from bothways.training.stage.stage_data import read_data

ITEMS = [LabeledText(f"text {number} of {name}", (name,), number) for name in ("lost_card", "top_up") for number in range(6)]


def test_documents_are_told_apart_by_what_each_label_has() -> None:
    assert documents_are_labels(by_label(ITEMS).examples)
    assert not documents_are_labels(by_example(ITEMS).examples)
    assert documents_are_labels(by_label(ITEMS, ClassOptions(per_label=1)).examples)
    assert not documents_are_labels(by_example(ITEMS, ClassOptions(per_label=1)).examples)


@pytest.mark.parametrize("convert", [by_label, by_example])
def test_a_class_name_carries_no_instruction_and_a_text_of_the_class_does(tmp_path: Path, convert) -> None:
    path = tmp_path / "banking77.jsonl"
    write_examples(convert(ITEMS, ClassOptions(task="banking77")).examples, path)
    recipe = bw.recipes.nv_embed(texts=str(path), order="single", preset="laptop")
    rows = read_data(recipe.stages[0].data, "examples").items
    query = rows[0].query_prompt
    assert query.startswith("Instruct: Given a online banking query")
    assert {row.document_prompt for row in rows} == {"" if convert is by_label else query}


def test_classes_are_left_out_of_the_retrieval_stage(tmp_path: Path, caplog) -> None:
    path = tmp_path / "rows.jsonl"
    plain = [{"query": f"question {number}", "pos": [f"answer {number}"]} for number in range(3)]
    classes = [{"query": f"text {number}", "pos": ["name"], "neg": ["other"], "label": "name"} for number in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in plain + classes))
    recipe = bw.recipes.nv_embed(texts=str(path), preset="laptop")
    with caplog.at_level("INFO", logger="bothways"):
        rows = [read_data(stage.data, "examples").items for stage in recipe.stages]
    assert [len(part) for part in rows] == [3, 7]
    assert "4 of 7 rows have a label. They are left out of this stage" in caplog.text
    # a label of one query, as NLI's premises have, is not a class
    premise = [Example("p", (text,), label="p") for text in ("a", "b")]
    assert without_classes(premise) == premise


def test_a_retrieval_stage_over_labeled_rows_alone_takes_them_and_says_so(tmp_path: Path, caplog) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"query": f"text {number}", "pos": ["name"], "neg": ["other"], "label": "name"} for number in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, _ = bw.recipes.nv_embed(texts=str(path), preset="laptop").stages
    with caplog.at_level("WARNING", logger="bothways"):
        assert len(read_data(first.data, "examples").items) == 4
    assert "all 4 rows have a label, so this stage, which is for rows without, takes them all" in caplog.text


def test_the_blended_stage_can_keep_in_batch_negatives_for_rows_without_a_label() -> None:
    stages = bw.recipes.nv_embed(order="by_task").stages
    assert [stage.objective.in_batch for stage in stages] == [True, "unlabeled"]


def test_the_sts_metric_of_nv_embed_has_the_instruction_of_its_rows() -> None:
    stage = bw.recipes.nv_embed(texts=["sts.jsonl"], dev="sts:dev.jsonl").stages[0]
    assert stage.eval.metric == ("sts:dev.jsonl?prompt=Instruct%3A%20Retrieve%20semantically%20similar%20text%0AQuery%3A%20")
    assert bw.recipes.nv_embed(texts=["x.jsonl"], dev="sts:dev.jsonl").stages[0].eval.metric == "sts:dev.jsonl"


def test_several_labels_survive_the_file(tmp_path: Path) -> None:
    classes = {"a": ("x", "y"), "b": ("x",), "c": ("y", "z"), "d": ("z",), "e": ("w", "z"), "f": ("w",)}
    items = [LabeledText(text, labels, number) for number, (text, labels) in enumerate(classes.items())]
    write_examples(by_example(items, ClassOptions(task="t", negatives=2)).examples, tmp_path / "t.jsonl")
    found = read_examples(tmp_path / "t.jsonl")
    assert any(len(example.labels) > 1 for example in found) and all(example.negatives for example in found)
    for example in found:
        assert example.label in classes[example.query]
        assert (example.labels or (example.label,)) == classes[example.query]
        assert example.positive_labels == tuple(classes[text] for text in example.positives)
        assert example.negative_labels == tuple(classes[text] for text in example.negatives)
        assert all(example.label in labels for labels in example.positive_labels or ((),))
        assert not any(set(labels) & set(classes[example.query]) for labels in example.negative_labels or ())


@pytest.mark.parametrize("names", [("0", "1", "2"), ("lost_card", "top_up", "refund")])
@pytest.mark.parametrize("negatives", [None, 1])
def test_names_of_classes_are_told_when_every_label_has_one_row(tmp_path: Path, names, negatives) -> None:
    """Numbers do not read as their names do, so other signs must tell."""
    words = dict(zip(names, ("lost my card", "top up the card", "money back"), strict=True))
    items = [LabeledText(f"text of {name}", (name,), number) for number, name in enumerate(names)]
    rows = by_label(items, ClassOptions(label_texts=words, negatives=negatives)).examples
    assert len({row.label for row in rows}) == len(rows) == 3
    assert documents_are_labels(rows)
    if negatives is None:  # a file of others marks no negatives; then the same documents in each row are the sign
        assert documents_are_labels([replace(row, negative_labels=None) for row in rows])
    many = [LabeledText(f"text {number} of {name}", (name,), number) for number in range(4) for name in names]
    for count in (1, 3, 7):
        assert not documents_are_labels(by_example(many, ClassOptions(per_label=1, negatives=count)).examples)


def test_auto_takes_names_when_every_label_has_one_text() -> None:
    items = [LabeledText(f"text of {name}", (name,), number) for number, name in enumerate(("a", "b", "c"))]
    assert settled("auto", items) == settled("auto", [*items, *items]) == "label"
    assert [row.positives for row in classification(items).examples] == [("a",), ("b",), ("c",)]
    assert settled("auto", [*items, LabeledText("another of a", ("a",), 3)]) == "example"
