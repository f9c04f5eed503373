"""Texts of several categories, and titles with abstracts."""

import json

import pytest

from bothways.data.conversion.clustering import DocumentColumns, clustering, read_titled_documents
from bothways.data.conversion.options import ClassOptions
from bothways.data.labeled.labeled_text import LabeledText
from bothways.errors import InputError


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


def test_forms_of_clustering(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"title": "T", "abstract": "long", "category": ["x", "y"]}) + "\n")
    assert read_titled_documents(path) == [LabeledText("T", ("x", "y"), 1)]
    assert read_titled_documents(path, DocumentColumns(form="p2p"))[0].text == "long"
    assert read_titled_documents(path, DocumentColumns(form="p2p", title_before_body=True))[0].text == "T long"
    with pytest.raises(InputError, match="no column 'headline'; the columns are: title, abstract, category"):
        read_titled_documents(path, DocumentColumns(title="headline"))
    with pytest.raises(InputError, match="form: 'p2s'"):
        read_titled_documents(path, DocumentColumns(form="p2s"))  # type: ignore[arg-type]
    plain = tmp_path / "b.jsonl"
    plain.write_text('{"text": "T", "label": "x"}\n')
    assert read_titled_documents(plain)[0].text == "T"
    with pytest.raises(InputError, match="title and body would both be 'text'"):
        read_titled_documents(plain, DocumentColumns(form="p2p", title_before_body=True))
