"""The examples of a stream by number: complete, the same from every place, in bounded memory."""

from __future__ import annotations

import itertools
import json
import logging
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from bothways.data.streams.shards import StreamShard, TextReader, shards_of
from bothways.errors import InputError
from bothways.training.loop.randomness import Order
from bothways.training.stream.example_stream import ExampleStream, Mark, StreamOrder


def stream(lengths: Sequence[int] = (11, 30, 7), *, buffer: int = 10, step: int = 4, seed: int = 3, stage: int = 0, **more):
    shards = [
        StreamShard(f"s{number}", lambda number=number, count=count: iter([f"{number}.{item}" for item in range(count)]))
        for number, count in enumerate(lengths)
    ]
    more.setdefault("prepare", lambda items: list(items))
    return ExampleStream(shards, more["prepare"], buffer=buffer, step=step, seed=seed, stage=stage, name="stages.s")


def first(made: ExampleStream, count: int) -> list[str]:
    return [made[number] for number in range(count)]


def test_an_epoch_shows_every_item_once_and_the_next_in_another_order() -> None:
    made = stream(buffer=8, step=4)  # 48 items in pieces of 8: nothing is left over
    items = first(made, 96)
    every = {f"{number}.{item}" for number, count in enumerate((11, 30, 7)) for item in range(count)}
    assert set(items[:48]) == set(items[48:]) == every
    assert items[:48] != items[48:]
    assert first(stream(buffer=8, step=4), 96) == items
    assert first(stream(buffer=8, step=4, seed=4), 48) != items[:48]
    assert first(stream(buffer=8, step=4, stage=1), 48) != items[:48]
    shards = [item.split(".")[0] for item in items[:48]]
    assert sum(a != b for a, b in itertools.pairwise(shards)) > 3  # mixed within a piece


def test_items_that_fill_no_step_are_left_out_of_the_epoch() -> None:
    """48 items in pieces of 10, of which 8 are used; the last one has 8."""
    counts = Counter(first(stream(buffer=10, step=4), 400))
    assert sum(counts.values()) == 400
    assert max(counts.values()) <= 10 and len(counts) == 48  # ten epochs: none is left out for good


@pytest.mark.parametrize("buffer", [4, 7, 10, 31, 500])
def test_going_on_from_any_mark_gives_the_same_examples(buffer: int) -> None:
    whole = first(stream(buffer=buffer), 400)
    made = stream(buffer=buffer)
    for step in range(1, 80):
        [made[number] for number in range((step - 1) * 4, step * 4)]
        mark = Mark(**json.loads(json.dumps(made.mark(step * 4).as_dict())))
        assert mark.number <= step * 4
        fresh = stream(buffer=buffer)
        fresh.enter(mark)
        assert [fresh[number] for number in range(step * 4, step * 4 + 40)] == whole[step * 4 : step * 4 + 40]
    assert made[0] == whole[0]  # back to the beginning


def test_entering_reads_one_shard_and_not_those_before() -> None:
    opened: list[int] = []

    def shard(number: int) -> StreamShard:
        def items():
            opened.append(number)
            return iter([f"{number}.{item}" for item in range(40)])

        return StreamShard(f"s{number}", items)

    made = ExampleStream([shard(n) for n in range(10)], list, buffer=8, step=4, seed=1, stage=0, name="s")
    [made[number] for number in range(300)]
    assert len(opened) >= 8
    mark = made.mark(300)
    opened.clear()
    fresh = ExampleStream([shard(n) for n in range(10)], list, buffer=8, step=4, seed=1, stage=0, name="s")
    fresh.enter(mark)
    assert fresh[300] == made[300]
    assert len(opened) <= 2


def test_a_process_takes_its_part_of_what_one_process_sees() -> None:
    one, two = StreamOrder(size=4, accumulation=1, world=1), StreamOrder(size=2, accumulation=1, world=2)
    assert one.global_size == two.global_size == 4
    for step in range(5):
        assert two.rows(step, 0, 0) + two.rows(step, 0, 1) == one.rows(step, 0, 0)
    more = StreamOrder(size=2, accumulation=3, world=2)
    places = [row for micro in range(3) for process in range(2) for row in more.rows(1, micro, process)]
    assert places == list(range(12, 24))
    # the same blocks as for data in memory
    known = Order(24, size=2, accumulation=3, world=2, seed=1, stage=0)
    blocks = [known.rows(0, micro, process) for micro in range(3) for process in range(2)]
    assert len({row for block in blocks for row in block}) == more.global_size


def test_too_little_data_is_refused_and_short_pieces_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InputError, match=r"stages\.s: the data gives 3 examples, and one step takes 4; give more text"):
        stream((2, 1))[0]
    with pytest.raises(InputError, match="the data gives 0 examples"):
        stream((0, 0))[0]

    def few(items: list[str]) -> list[str]:
        return [item for item in items if item.startswith("1.")]

    with caplog.at_level(logging.WARNING):
        made = stream((40, 40), prepare=few)
        assert all(item.startswith("1.") for item in first(made, 100))
    assert "are left out, because one step takes 4" in caplog.text
    mark = made.mark(100)
    fresh = stream((40, 40), prepare=few)
    fresh.enter(mark)
    assert [fresh[n] for n in range(100, 140)] == [made[n] for n in range(100, 140)]


def test_an_error_names_the_stage_and_the_shard() -> None:
    def broken(items: list[str]) -> list[str]:
        raise InputError("texts hold fewer than two tokens")

    with pytest.raises(InputError, match=r"stages\.s: s\d, from item 1 on: texts hold fewer"):
        stream(prepare=broken)[0]


def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    """8 MB of text through a buffer of 100 texts of 1 KB."""
    for number in range(4):
        lines = (json.dumps({"text": f"{number} {row} " + "x" * 1000}) for row in range(2000))
        (tmp_path / f"part-{number}.jsonl").write_text("\n".join(lines))
    shards = shards_of(str(tmp_path), TextReader())
    made = ExampleStream(shards, list, buffer=100, step=50, seed=1, stage=0, name="s")
    tracemalloc.start()
    seen = {made[number][:12] for number in range(8000)}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(seen) == 8000
    # 150 texts are read at a time, and the beginnings of 8,000 are kept here
    assert peak < 2_500_000
