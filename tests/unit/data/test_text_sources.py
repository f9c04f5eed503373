"""Names of sources: files, folders and hub datasets, and the answer to a wrong one."""

import sys

import pytest

from bothways.data import text_sources
from bothways.data.text.readers import iter_texts, read_texts
from bothways.data.text_sources import resolve_texts
from bothways.errors import SourceError


@pytest.mark.parametrize("name", ["missing.txt", "org/missing.jsonl", "missing", "a/b/c", "a/b:c/d/e"])
def test_wrong_names_fail_at_once(name, monkeypatch):
    """Before a text is asked for, and without asking the network."""
    monkeypatch.setattr(text_sources, "iter_hub_rows", None)
    with pytest.raises(SourceError, match=r"not the name of a file, folder or hub dataset .*; write texts to a file"):
        list(iter_texts("This is a long text. " * 50))
    with pytest.raises(SourceError, match=f"{name}: no such file or folder; expected a path"):
        iter_texts(name)


class FakeDatasets:
    """Stands in for the `datasets` library: a split of three rows, or an error."""

    def __init__(self, error=None, breaks_at=None):
        self.error, self.breaks_at, self.calls = error, breaks_at, []

    def load_dataset(self, *args, **options):
        self.calls.append((args, options))
        if self.error:
            raise self.error
        return self.rows()

    def rows(self):
        for number in range(1, 4):
            if number == self.breaks_at:
                raise ConnectionError("connection reset\nby peer")
            yield {"text": f"text {number}"}


@pytest.mark.parametrize(
    ("name", "config", "split"),
    [("org/name", None, "train"), ("org/na-me:c1", "c1", "train"), ("o.g/name:c1/dev", "c1", "dev")],
)
def test_hub_names(monkeypatch, name, config, split):
    fake = FakeDatasets()
    monkeypatch.setitem(sys.modules, "datasets", fake)
    assert read_texts(name) == ["text 1", "text 2", "text 3"]
    assert read_texts(name, limit=1) == ["text 1"]
    assert [call[0] for call in fake.calls] == [(name.split(":")[0], config)] * 2
    assert [call[1] for call in fake.calls] == [{"split": split, "streaming": False}, {"split": split, "streaming": True}]


def test_hub_out_of_reach(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", FakeDatasets(error=ConnectionError("no route\nlong trace")))
    with pytest.raises(SourceError, match=r"org/name:default/train: .* could not be read \(no route\); check the name"):
        read_texts("org/name")
    monkeypatch.setitem(sys.modules, "datasets", FakeDatasets(breaks_at=3))
    with pytest.raises(SourceError, match=r"could not be read after row 2 \(connection reset\)"):
        read_texts("org/name")


def test_a_hub_dataset_without_an_owner_is_named_with_its_configuration() -> None:
    found = resolve_texts("kor_nli:snli/train")
    assert (found.kind, found.name, found.config, found.split) == ("hub", "kor_nli", "snli", "train")


@pytest.mark.parametrize("name", ["kor_nli", "KOR_NLI", "kor_nli:", "kor_nli/"])
def test_a_bare_name_of_a_hub_dataset_is_answered_with_its_specification(name) -> None:
    with pytest.raises(
        SourceError, match=r"no such file or folder; for the hub's data set of this name write kor_nli:snli/train$"
    ):
        resolve_texts(name)
    with pytest.raises(SourceError, match=r"or some_set:config/split if it has no owner"):
        resolve_texts("some_set")
    with pytest.raises(SourceError, match=r"as org/name:config/split$"):
        resolve_texts("missing.jsonl")
