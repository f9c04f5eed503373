"""Classification and clustering: positives are of the query's class, negatives of others, in every
draw.
"""

import json
from collections import Counter

import pytest

from bothways.data.conversion.by_example import by_example
from bothways.data.conversion.classification import by_label, classification
from bothways.data.conversion.clustering import DocumentColumns, clustering, read_documents
from bothways.data.conversion.labeled_text import read_label_texts
from bothways.data.conversion.options import ClassOptions
from bothways.data.decontamination import Overlap
from bothways.data.labeled.labeled_text import LabeledText, read_labeled
from bothways.data.labeled.templates import Prompts
from bothways.errors import InputError

CLASSES = ("card_arrival", "top_up", "pin", "rare")
ITEMS = [LabeledText(f"text {number} about {label}", (label,), number) for number in range(12) for label in CLASSES[:3]]
ITEMS += [LabeledText("the only rare one", ("rare",), 99)]
OF = {item.text: item.label for item in ITEMS}


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


def test_several_categories():
    """One is drawn as the label; a negative shares none of them, drawn or not."""
    items = [LabeledText(f"{a}{b}{n}", (a, b)) for n in range(6) for a, b in ("xy", "yz", "zx", "uv")]
    labels = {item.text: set(item.labels) for item in items}
    converted = clustering(items, ClassOptions(negatives=4))
    assert {len(labels[example.query]) for example in converted.examples} == {2}
    for example in converted.examples:
        assert example.label in labels[example.query]
        assert all(labels[example.query].isdisjoint(labels[text]) for text in example.negatives)
    drawn = {example.label for example in converted.examples}
    assert len(drawn) == 5


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


def test_reading(tmp_path):
    rows = [{"text": "a", "label": 1, "label_name": "one"}, {"text": "b", "label": 2, "label_name": "two"}]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_labeled(path) == [LabeledText("a", ("one",), 1), LabeledText("b", ("two",), 2)]
    assert read_labeled(path, label="label")[0].labels == ("1",)
    table = tmp_path / "b.csv"
    table.write_text("sentence,category\na,cs.CL cs.LG\nb,math.CA\n")
    assert read_labeled(table, separator=" ")[0].labels == ("cs.CL", "cs.LG")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "b", "label": float("nan")}, "row 2: the label is nan"),
        ({"text": "b", "label": None}, "row 2: the label is nothing"),
        ({"text": "b", "label": ""}, "row 2: the label is nothing"),
        ({"text": "b", "label": 1.5}, "row 2: the label is 1.5"),
        ({"text": "b", "label": 0.5}, "row 2: the label is 0.5"),
        ({"text": "b", "label": []}, "row 2: column 'label' holds no label"),
        ({"text": 1, "label": "x"}, "row 2: column 'text' holds a number"),
        ({"label": "x"}, "row 2: no column 'text'"),
        ({"text": "b"}, "row 2: no column 'label'"),
    ],
)
def test_wrong_rows(tmp_path, row, message):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "a", "label": "x"}) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(InputError, match=f"a.jsonl, {message}"):
        read_labeled(path)


def test_forms_of_clustering(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"title": "T", "abstract": "long", "category": ["x", "y"]}) + "\n")
    assert read_documents(path) == [LabeledText("T", ("x", "y"), 1)]
    assert read_documents(path, DocumentColumns(form="p2p"))[0].text == "long"
    assert read_documents(path, DocumentColumns(form="p2p", title_before_body=True))[0].text == "T long"
    with pytest.raises(InputError, match="no column 'headline'; the columns are: title, abstract, category"):
        read_documents(path, DocumentColumns(title="headline"))
    with pytest.raises(InputError, match="form: 'p2s'"):
        read_documents(path, DocumentColumns(form="p2s"))  # type: ignore[arg-type]
    plain = tmp_path / "b.jsonl"
    plain.write_text('{"text": "T", "label": "x"}\n')
    assert read_documents(plain)[0].text == "T"
    with pytest.raises(InputError, match="title and body would both be 'text'"):
        read_documents(plain, DocumentColumns(form="p2p", title_before_body=True))


def test_label_texts_file(tmp_path):
    path = tmp_path / "labels.json"
    for wrong in ("[1]", '{"a": ""}', '{"a": 1}', "{"):
        path.write_text(wrong)
        with pytest.raises(InputError, match=r"labels.json: .*expected"):
            read_label_texts(path)
    with pytest.raises(InputError, match=r"missing.json: cannot be read"):
        read_label_texts(tmp_path / "missing.json")
