"""The examples of a stage that streams, by number, and the numbers of each step.

Example n of the stream is the same in every run. The shards' order is a permutation of (seed,
stage, epoch), and each piece is permuted by (seed, stage, place of the piece).
Every process reads the whole stream and takes its part of each step, as with data in memory. So two
processes see together what one sees with twice the rows.

What is left of a piece and does not fill a step is left out of the epoch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from bothways.data.streams.pieces import Place, StreamPiece, pieces
from bothways.data.streams.shards import StreamShard
from bothways.encoder.texts.stored_rows import OnDemand
from bothways.errors import InputError
from bothways.training.loop.randomness import generator

log = logging.getLogger("bothways")


class StreamOrder:
    """Which examples of a stream belong to which micro-batch; see `randomness.Order`."""

    examples: int | None = None
    steps_per_epoch: int = 0

    def __init__(self, *, size: int, accumulation: int, world: int) -> None:
        """Lay out the steps.

        Args:
            size: rows per micro-batch and process.
            accumulation: micro-batches per step and process.
            world: number of processes.
        """
        self.size, self.world = size, world
        self.global_size = size * accumulation * world

    def rows(self, step: int, micro: int, process: int) -> list[int]:
        """Return the example numbers of one micro-batch of optimizer step `step` (from 0)."""
        first = step * self.global_size + (micro * self.world + process) * self.size
        return list(range(first, first + self.size))


@dataclass(frozen=True)
class Mark:
    """A place at which a stream can be entered.

    Attributes:
        number: number of the first example behind it.
        epoch, shard, item: see `pieces.Place`.
    """

    number: int = 0
    epoch: int = 0
    shard: int = 0
    item: int = 0

    @classmethod
    def of(cls, number: int, place: Place) -> Mark:
        """Make the mark of the piece that begins with an example at a place."""
        return cls(number, *place)

    @property
    def place(self) -> Place:
        """The place in the data."""
        return Place(self.epoch, self.shard, self.item)

    def as_dict(self) -> dict[str, int]:
        """Return the mark as plain JSON types."""
        return asdict(self)


class ExampleStream:
    """The examples of a stage by number, from 0 and without end. One piece of them is in memory."""

    def __init__(
        self,
        shards: Sequence[StreamShard],
        prepare: Callable[[list[Any]], Sequence[Any]],
        *,
        buffer: int,
        step: int,
        seed: int,
        stage: int,
        name: str,
    ) -> None:
        """Open the stream.

        Args:
            shards: the data.
            prepare: makes the examples of a piece from its items.
            buffer: items of a piece.
            step: examples of an optimizer step, over all processes.
            seed: seed of the run.
            stage: number of the stage, from 0.
            name: name of the stage, for messages.
        """
        self.shards, self.prepare = shards, prepare
        self.buffer, self.step, self.name = buffer, step, name
        self.seed, self.stage = seed, stage
        self.enter(Mark())

    def __getitem__(self, number: int) -> Any:
        """Return an example.

        Going back to an earlier piece begins again with the first.

        Raises:
            InputError: the data cannot be read, or gives fewer examples than a step takes.
        """
        if number < self._mark.number:
            self.enter(Mark())
        while number >= self._mark.number + len(self._examples):
            self._next()
        return self._examples[number - self._mark.number]

    def enter(self, mark: Mark) -> None:
        """Go to a place in the stream. Nothing is read until an example is asked for."""
        self._mark = self._following = mark
        self._examples: Sequence[Any] = []
        self._pieces: Iterator[StreamPiece] = pieces(
            self.shards, self.buffer, self._shards, mark.place
        )

    def mark(self, number: int) -> Mark:
        """Return the place at which to enter the stream, to go on with an example.

        Args:
            number: of the example. It belongs to the piece in memory, or is the first one after it.
        """
        there = self._mark.number + len(self._examples)
        return self._mark if self._mark.number <= number < there else self._following

    def _next(self) -> None:
        """Read the next piece that fills a step."""
        number, begun = self._following.number, self._following.epoch
        short: list[int] = []
        for piece in self._pieces:
            if piece.start.epoch > begun + 1:  # a whole epoch has given nothing
                break
            examples = self._prepared(piece)
            if len(examples) >= self.step:
                used = len(examples) - len(examples) % self.step
                mixed = generator(self.seed, "piece", self.stage, *piece.start)
                chosen = torch.randperm(len(examples), generator=mixed)[:used].tolist()
                self._examples = OnDemand(examples.__getitem__, chosen)
                self._mark = Mark.of(number, piece.start)
                self._following = Mark.of(number + used, piece.following)
                return
            short.append(len(examples))
            log.warning(
                "%s: %d texts of the stream give %d examples and are left out, because one step takes %d; raise data.stream.buffer",
                *(self.name, len(piece.items), len(examples), self.step),
            )
        raise InputError(
            f"{self.name}: the data gives {max(short, default=0)} examples, and one step takes {self.step}; give more text, "
            "a larger data.stream.buffer or a smaller batch"
        )

    def _prepared(self, piece: StreamPiece) -> Sequence[Any]:
        try:
            return self.prepare(piece.items)
        except InputError as error:
            at = self._shards(piece.start.epoch)[piece.start.shard]
            raise InputError(
                f"{self.name}: {self.shards[at].name}, from item {piece.start.item + 1} on: {error}"
            ) from None

    def _shards(self, epoch: int) -> list[int]:
        """Return the order of the shards in an epoch."""
        mixed = generator(self.seed, "shards", self.stage, epoch)
        order: list[int] = torch.randperm(len(self.shards), generator=mixed).tolist()
        return order
