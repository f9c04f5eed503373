"""Blocks of queries cover a text once, within their budget."""

import pytest
import torch

from bothways.attention import reach


@pytest.mark.parametrize("window", [None, 300, 40_000])
@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
def test_blocks_have_fewer_queries_for_more_keys_and_heads(direction, window):
    for length, scores in ((100_000, 1), (100_000, 16), (8192, 4), (1025, 2048), (3000, 10**6)):
        blocks = reach.query_blocks(length, direction, window, scores)
        assert [place for block in blocks for place in block[:2]][1:-1:2] == [block.start for block in blocks[1:]]
        assert (blocks[0].start, blocks[-1].end) == (0, length)
        for start, end, first, last in blocks:
            assert end - start <= reach.QUERIES
            assert (end - start) * (last - first) * scores <= reach.ELEMENTS or end - start <= reach.FEWEST
    # short texts, whose masks are kept, are run in one block whatever the heads
    assert len(reach.query_blocks(reach.QUERIES, direction, window, 10**6)) == 1


@pytest.mark.parametrize("window", [None, 1, 3, 50])
@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
def test_masks_of_all_blocks_are_the_whole_mask(monkeypatch, direction, window):
    monkeypatch.setattr(reach, "QUERIES", 7)
    monkeypatch.setattr(reach, "FEWEST", 2)
    monkeypatch.setattr(reach, "ELEMENTS", 40)
    length = 23
    drawn = torch.zeros(length, length, dtype=torch.bool)
    for block in reach.query_blocks(length, direction, window):
        drawn[block.start : block.end, block.first : block.last] = reach.seen(block, direction, window, torch.device("cpu"))
    for query in range(length):
        for key in range(length):
            ahead = key - query
            expected = ahead <= 0 if direction == "causal" else True
            if window is not None:
                expected = expected and (ahead > -window if direction == "causal" else abs(ahead) <= window)
            assert bool(drawn[query, key]) == expected, (query, key)


def test_only_the_first_block_of_a_short_text_keeps_its_mask():
    assert reach.QueryBlock(0, 10, 0, 10).short
    assert not reach.QueryBlock(0, reach.QUERIES, 0, reach.QUERIES + 1).short
    assert not reach.QueryBlock(8, 16, 0, 16).short
