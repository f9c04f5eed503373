"""Cuts depend on the texts alone, and digests on everything that a row holds."""

from __future__ import annotations

from collections import deque

import pytest

from bothways.bulk import shard_texts
from bothways.bulk.shard_texts import ShardTexts, cut_shards


@pytest.mark.parametrize(("rows", "sizes"), [(3, [3, 3, 1]), (7, [7]), (9, [7]), (1, [1] * 7)])
def test_every_text_is_in_one_shard_with_its_place(rows: int, sizes: list[int]) -> None:
    texts = [f"text {number}" for number in range(7)]
    places = deque(("file", number + 1) for number in range(7))
    found = list(cut_shards(iter(texts), places, rows))
    assert [len(each.texts) for each in found] == sizes and not places
    assert [text for each in found for text in each.texts] == texts
    assert [row for each in found for _, row in each.places] == list(range(1, 8))
    assert [each.number for each in found] == list(range(len(sizes)))
    assert [each.first for each in found] == [sum(sizes[:number]) for number in range(len(sizes))]


def test_no_further_ahead_than_one_shard() -> None:
    read = []

    def stream():
        for number in range(9):
            read.append(number)
            yield "text"

    shards = cut_shards(stream(), deque([("f", 1)] * 9), 3)
    next(shards)
    assert len(read) == 3


def test_long_texts_end_a_shard(monkeypatch) -> None:
    monkeypatch.setattr(shard_texts, "CHARACTERS", 10)
    found = list(cut_shards(["a" * 4, "b" * 6, "c" * 30, "d"], deque([("f", 1)] * 4), 100))
    assert [len(each.texts) for each in found] == [2, 1, 1]


def test_a_digest_is_of_texts_and_places() -> None:
    plain = ShardTexts(0, 0, ["ab", "c"], [("f", 1), ("f", 2)])
    others = [
        ShardTexts(0, 0, ["a", "bc"], [("f", 1), ("f", 2)]),
        ShardTexts(0, 0, ["ab", "c"], [("f", 1), ("g", 2)]),
        ShardTexts(0, 0, ["ab", "c"], [("f", 1), ("f", 3)]),
        ShardTexts(0, 0, ["ab"], [("f", 1)]),
    ]
    assert len({each.digest() for each in [plain, *others]}) == 5
    assert ShardTexts(3, 9, plain.texts, plain.places).digest() == plain.digest()
