"""Cuts the endless stream of a data set's items into pieces that fit into memory.

    epoch 0:  shard 3 ─ shard 1 ─ shard 2  │ epoch 1:  shard 2 ─ …
             [  piece  ][  piece  ][ piece ]│[  piece  ]…

A piece holds as many items as a buffer. It belongs to one epoch. If less than half a piece is left
at the end of an epoch, it joins the piece before it, so that no piece is small unless the data is.

Nothing is carried from piece to piece. So a piece depends only on the place at which it begins, and
a run that knows the place goes on without the pieces before it. A buffer from which single items
are drawn, such as the one of `datasets`, holds items of any age, and loses them when it is
restored.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bothways.data.streams.shards import StreamShard


class Place(NamedTuple):
    """A place in the stream.

    Attributes:
        epoch: number of the pass over the data, from 0.
        shard: place of the shard in the order of this epoch, from 0.
        item: items of the shard before the place.
    """

    epoch: int = 0
    shard: int = 0
    item: int = 0


@dataclass(frozen=True)
class StreamPiece:
    """Consecutive items of the stream.

    Attributes:
        start: the place of its first item.
        following: the place of the first item after it, or the start of the next epoch.
        items: the items, in order.
    """

    start: Place
    following: Place
    items: list[Any]


def pieces(
    shards: Sequence[StreamShard], size: int, order: Callable[[int], Sequence[int]], start: Place
) -> Iterator[StreamPiece]:
    """Yield the pieces of the stream from a place on, without end.

    Args:
        shards: the data.
        size: items of a piece. At the end of an epoch it has half as many to 1.5 times as many.
        order: returns the order of the shards in an epoch, for example `lambda epoch: [2, 0, 1]`.
        start: the beginning of a piece, for example `Place()`.

    Yields:
        The pieces. If the shards hold no item, there is none, and the iteration ends.
    """
    while True:
        found = False
        for piece in _of_epoch(shards, size, order(start.epoch), start):
            found = True
            yield piece
        if not found and start == Place(start.epoch):
            return
        start = Place(start.epoch + 1)


def _of_epoch(
    shards: Sequence[StreamShard], size: int, order: Sequence[int], start: Place
) -> Iterator[StreamPiece]:
    """Yield the pieces from a place to the end of its epoch."""
    rest = _items(shards, order, start)
    half = max(1, size // 2)
    items: list[Any] = []
    end = start
    while True:
        for following, item in itertools.islice(rest, size - len(items)):
            items.append(item)
            end = following
        ahead = list(itertools.islice(rest, half))
        if len(ahead) < half:
            items += [item for _, item in ahead]
            if items:
                yield StreamPiece(start, Place(start.epoch + 1), items)
            return
        yield StreamPiece(start, end, items)
        start, end, items = end, ahead[-1][0], [item for _, item in ahead]


def _items(
    shards: Sequence[StreamShard], order: Sequence[int], start: Place
) -> Iterator[tuple[Place, Any]]:
    """Yield (the place after the item, the item) to the end of the epoch."""
    skipped = start.item
    for number in range(start.shard, len(order)):
        shard = shards[order[number]].items()
        for count, item in enumerate(itertools.islice(shard, skipped, None), start=skipped + 1):
            yield Place(start.epoch, number, count), item
        skipped = 0
