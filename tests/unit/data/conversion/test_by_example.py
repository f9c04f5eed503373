"""Positives are of the query's class, negatives of others, in every draw."""

from collections import Counter

import pytest

from bothways.data.conversion.by_example import by_example
from bothways.data.conversion.options import ClassOptions
from bothways.data.decontamination import Overlap
from bothways.data.labeled.labeled_text import LabeledText
from bothways.errors import InputError
from unit.data.conversion.material import ITEMS

OF = {item.text: item.label for item in ITEMS}


def test_by_example():
    converted = by_example(ITEMS, ClassOptions(positives=2, negatives=5))
    assert len(converted.examples) == 36 and converted.dropped == {"alone with their label": 1}
    for example in converted.examples:
        assert example.label == OF[example.query]
        assert {OF[text] for text in example.positives} == {example.label} and example.query not in example.positives
        assert example.label not in {OF[text] for text in example.negatives}
        assert len(set(example.positives)) == 2 and len(set(example.negatives)) == 5
    assert Counter(OF[text] for example in converted.examples for text in example.negatives)["rare"] > 0


def test_draws_depend_on_the_seed_alone():
    assert by_example(ITEMS, ClassOptions(seed=3)).examples == by_example(ITEMS, ClassOptions(seed=3)).examples
    assert by_example(ITEMS, ClassOptions(seed=3)).examples != by_example(ITEMS, ClassOptions(seed=4)).examples


def test_all_the_negatives_there_are():
    """Asked for more than there are, or where draws nearly always fail: every text of another
    class, each once.
    """
    items = [LabeledText(f"a{n}", ("a",)) for n in range(300)] + [LabeledText("b0", ("b",)), LabeledText("b1", ("b",))]
    for example in by_example(items, ClassOptions(negatives=7, per_label=5)).examples:
        assert sorted(example.negatives) == ["b0", "b1"] if example.label == "a" else len(set(example.negatives)) == 7


def test_draws_are_even_over_a_class_and_never_the_query():
    """Every other text of the class is drawn about equally often, the first, the last and the
    neighbours of the query too.
    """
    items = [LabeledText(f"{label}{number}", (label,)) for number in range(5) for label in "ab"]
    drawn = Counter()
    for seed in range(400):
        for example in by_example(items, ClassOptions(negatives=0, seed=seed)).examples:
            drawn[example.query, example.positives[0]] += 1
    assert len(drawn) == 2 * 5 * 4 and all(query != positive and query[0] == positive[0] for query, positive in drawn)
    # 400 draws of one in four: 100, standard deviation 8.7
    assert min(drawn.values()) > 60 and max(drawn.values()) < 140


def test_negatives_of_the_frequent_class_do_not_cost_a_pass_over_all_texts():
    looked = Counter()

    class Looked(tuple):
        def __iter__(self):
            looked["labels"] += 1
            return super().__iter__()

    items = [LabeledText(f"a{number}", Looked("a" if number else "b")) for number in range(1500)]
    by_example(items, ClassOptions(negatives=1, seed=1))
    assert looked["labels"] < 100 * len(items)


def test_doubtful_texts_are_left_out():
    items = [
        LabeledText("same", ("a",), 1),
        LabeledText("Same!", ("b",), 2),
        LabeledText("twice", ("a",), 3),
        LabeledText("TWICE", ("a",), 4),
        LabeledText(" ", ("a",), 5),
        *(LabeledText(f"{label} {n}", (label,), 10) for label in "ab" for n in range(3)),
        LabeledText("held", ("b",), 20),
    ]
    converted = by_example(items, ClassOptions(without=Overlap(["Held."]), negatives=9))
    assert converted.dropped == {
        "with contradicting labels": 2,
        "repeated": 1,
        "without a text": 1,
        "held by evaluation data": 1,
    }
    assert converted.first["repeated"] == 4
    seen = {text for x in converted.examples for text in (x.query, *x.positives, *x.negatives)}
    assert seen == {"twice", "a 0", "a 1", "a 2", "b 0", "b 1", "b 2"}
    with pytest.raises(InputError, match="1 usable texts of 1 label"):
        by_example(items[2:4])
