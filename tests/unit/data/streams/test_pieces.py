"""Cuts a stream into pieces that can be entered anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from bothways.data.streams.pieces import Place, StreamPiece, pieces
from bothways.data.streams.shards import StreamShard

LENGTHS = [
    (5, 0, 17, 8, 1),
    (1,),
    (30,),
    (0, 0, 3),
    (4, 4, 4, 4),
]


def shards(lengths: Sequence[int]) -> list[StreamShard]:
    return [
        StreamShard(f"s{number}", lambda number=number, count=count: iter([(number, item) for item in range(count)]))
        for number, count in enumerate(lengths)
    ]


def turned(epoch: int, count: int) -> list[int]:
    """Another order in each epoch."""
    return [(number + epoch) % count for number in reversed(range(count))]


def epochs(lengths: Sequence[int], size: int, count: int) -> list[list[StreamPiece]]:
    """The pieces of the first epochs."""
    found: list[list[StreamPiece]] = []
    for piece in pieces(shards(lengths), size, lambda epoch: turned(epoch, len(lengths)), Place()):
        if piece.start.epoch == count:
            break
        found += [[] for _ in range(piece.start.epoch + 1 - len(found))]
        found[-1].append(piece)
    return found


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("size", [2, 3, 7, 8, 100])
def test_an_epoch_has_every_item_once_in_the_order_of_the_shards(lengths: Sequence[int], size: int) -> None:
    for epoch, found in enumerate(epochs(lengths, size, 3)):
        expected = [(number, item) for number in turned(epoch, len(lengths)) for item in range(lengths[number])]
        assert [item for piece in found for item in piece.items] == expected
        sizes = [len(piece.items) for piece in found]
        assert all(count == size for count in sizes[:-1])
        assert sizes[-1] < 1.5 * size + 1 and (len(sizes) == 1 or sizes[-1] >= size // 2)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("size", [2, 3, 7])
def test_the_stream_can_be_entered_after_each_piece(lengths: Sequence[int], size: int) -> None:
    whole = list(itertools.chain.from_iterable(epochs(lengths, size, 3)))
    for number, piece in enumerate(whole):
        rest = pieces(shards(lengths), size, lambda epoch: turned(epoch, len(lengths)), piece.following)
        assert list(itertools.islice(rest, len(whole) - number - 1)) == whole[number + 1 :]


def test_no_item_ends_the_stream() -> None:
    assert list(pieces(shards((0, 0)), 4, lambda _: [0, 1], Place())) == []
    assert list(pieces([], 4, lambda _: [], Place())) == []
