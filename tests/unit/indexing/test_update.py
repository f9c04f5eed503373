"""Batches of texts: bounded by number and characters, in order, without losing one."""

from bothways.indexing import update
from bothways.indexing.update import Read


def test_batches_are_bounded(monkeypatch) -> None:
    monkeypatch.setattr(update, "_TEXTS", 3)
    monkeypatch.setattr(update, "_CHARACTERS", 100)
    texts = ["a", "b" * 99, "c", "d" * 500, "e", "f", "g", "h"]
    read = [Read(b"", b"", "s", "f", row, text) for row, text in enumerate(texts)]
    batches = list(update._batches(iter(read)))
    assert [len(batch) for batch in batches] == [2, 2, 3, 1]
    assert [each.text for batch in batches for each in batch] == texts
    assert list(update._batches(iter([]))) == []
