"""Keeps the tokens of all texts of a stage in little memory, and makes examples of them on demand.

Lists of Python numbers take about 100 bytes a token, and the tokenizer's own results of all texts
take as much again. So texts are tokenized a few at a time, and kept in 5 bytes a token. Open this
if a stage takes too much memory before its first step.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, overload

from bothways.encoder.batch import TokenRow

if TYPE_CHECKING:
    from bothways.encoder.module import EncoderModule

Item = TypeVar("Item")
Made = TypeVar("Made")

TOGETHER = 256
"""Texts per call of the tokenizer: enough for its threads, but few compared with all of them."""


class OnDemand(Sequence[Made], Generic[Made]):
    """Examples that are made when they are asked for.

    For example, `OnDemand(lambda number: texts[number].upper(), range(len(texts)))`.

    Args:
        make: returns the example with a number.
        numbers: the number of each example, in order.
    """

    def __init__(self, make: Callable[[int], Made], numbers: Sequence[int]) -> None:
        self._make, self._numbers = make, numbers

    def __len__(self) -> int:
        """Count the examples."""
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> Made: ...
    @overload
    def __getitem__(self, place: slice) -> OnDemand[Made]: ...
    def __getitem__(self, place: int | slice) -> Made | OnDemand[Made]:
        """Make an example. A slice gives examples that are made later."""
        if isinstance(place, slice):
            return OnDemand(self._make, self._numbers[place])
        return self._make(self._numbers[place])


def stored_rows(
    texts: Sequence[Item], tokenize: Callable[[Sequence[Item], int], Sequence[TokenRow]]
) -> OnDemand[TokenRow]:
    """Tokenize texts and keep their rows.

    Args:
        texts: all texts.
        tokenize: makes the rows of a few successive texts, of which the first has the given number.

    Returns:
        The rows, without `offsets`, which training does not read.
    """
    stored = _Stored()
    for first in range(0, len(texts), TOGETHER):
        for row in tokenize(texts[first : first + TOGETHER], first):
            stored.add(row)
    return OnDemand(stored.row, range(len(stored.ids)))


def prompted_rows(
    encoder: EncoderModule, texts: Sequence[str], max_length: int
) -> OnDemand[TokenRow]:
    """Tokenize texts with the encoder's default prompt, and keep their rows."""
    prompt = encoder.prompt()
    return stored_rows(
        texts,
        lambda some, first: encoder.tokenize(
            some, prompt=prompt, max_length=max_length, first=first
        ),
    )


class NumberLists:
    """Lists of whole numbers up to 2³¹, one after the other, in 4 bytes a number.

    Args:
        kind: the type code of `array`. "b" holds numbers up to 127 in a byte each.
    """

    def __init__(self, kind: Literal["i", "b"] = "i") -> None:
        self._numbers: array[int] = array(kind)
        self._ends = array("q")

    def __len__(self) -> int:
        """Count the lists."""
        return len(self._ends)

    def add(self, numbers: Iterable[int]) -> None:
        """Add a list."""
        self._numbers.extend(numbers)
        self._ends.append(len(self._numbers))

    def __getitem__(self, place: int) -> list[int]:
        """Return the list at a place, counted from 0."""
        begin = self._ends[place - 1] if place else 0
        return self._numbers[begin : self._ends[place]].tolist()


class _Stored:
    def __init__(self) -> None:
        self.ids, self.pool = NumberLists(), NumberLists("b")
        self.blocks: dict[int, tuple[int, ...]] = {}

    def add(self, row: TokenRow) -> None:
        if row.blocks:
            self.blocks[len(self.ids)] = row.blocks
        self.ids.add(row.ids)
        self.pool.add(row.pool)

    def row(self, number: int) -> TokenRow:
        pool = [kept == 1 for kept in self.pool[number]]
        return TokenRow(self.ids[number], pool, [], self.blocks.get(number, ()))
