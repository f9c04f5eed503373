"""Each text with the text of its label, or with a text of its class."""

from collections import Counter

import pytest

from bothways.data.conversion.classification import by_label, classification
from bothways.data.conversion.options import ClassOptions
from bothways.data.labeled.labeled_text import LabeledText
from bothways.data.labeled.templates import Prompts
from bothways.errors import InputError
from unit.data.conversion.material import CLASSES, ITEMS


def test_by_label_text():
    converted = by_label(ITEMS, ClassOptions(task="t", prompts=Prompts("q: ")))
    assert len(converted.examples) == len(ITEMS) == converted.rows
    first = converted.examples[0]
    assert (first.positives, first.negatives) == (("card arrival",), ("pin", "rare", "top up"))
    assert (first.label, first.query_prompt, first.document_prompt) == ("card_arrival", "q: ", "")
    few = by_label(ITEMS, ClassOptions(negatives=2, label_texts={label: label.upper() for label in CLASSES}))
    assert {len(example.negatives) for example in few.examples} == {2}
    assert all(example.positives[0] not in example.negatives for example in few.examples)
    assert len({example.negatives for example in few.examples}) > 3  # drawn anew for each


def test_auto_is_label_text_for_two_classes():
    two = [item for item in ITEMS if item.label in CLASSES[:2]]
    assert {example.positives for example in classification(two).examples} == {("card arrival",), ("top up",)}
    assert all(len(example.negatives) == 7 for example in classification(ITEMS).examples)
    with pytest.raises(InputError, match="by: 'class'"):
        classification(ITEMS, ClassOptions(by="class"))  # type: ignore[arg-type]


def test_stratified_queries():
    converted = by_label(ITEMS, ClassOptions(per_label=4))
    assert Counter(example.label for example in converted.examples) == {"card_arrival": 4, "top_up": 4, "pin": 4, "rare": 1}
    assert converted.dropped == {"not drawn as a query": 24}


def test_labels_need_words():
    numbered = [LabeledText(f"t{n}", (str(n % 2),)) for n in range(6)]
    with pytest.raises(InputError, match="label '0': a number says nothing"):
        by_label(numbered)
    with pytest.raises(InputError, match="label '1': has no text"):
        by_label(numbered, ClassOptions(label_texts={"0": "zero"}))
    with pytest.raises(InputError, match="several of them read 'one'"):
        by_label(numbered, ClassOptions(label_texts={"0": "one", "1": "one"}))
    assert by_label(numbered, ClassOptions(label_texts={"0": "zero", "1": "one"})).examples[0].positives == ("zero",)
