"""Packing against a loop that knows nothing of rows while it joins: every token once, in order, in
its own document.
"""

import random

import pytest

from bothways.data.text.packing import Block, pack_documents
from bothways.errors import InputError


def naive(documents, length, separator, isolate):
    """Join everything, remembering each token's document; cut; count runs of one document."""
    joined = []
    for number, document in enumerate(d for d in documents if d):
        if number and separator is not None:
            joined.append((separator, number - 1))
        joined += [(token, number) for token in document]
    rows = [joined[i : i + length] for i in range(0, len(joined), length)]
    if len(rows) > 1 and len(rows[-1]) < length:
        rows.pop()
    blocks = []
    for row in rows:
        owners = [owner for _, owner in row]
        lengths = tuple(owners.count(owner) for owner in sorted(set(owners))) if isolate else (len(row),)
        blocks.append(Block([token for token, _ in row], lengths))
    return blocks


@pytest.mark.parametrize("isolate", [False, True])
@pytest.mark.parametrize("separator", [None, -7])
@pytest.mark.parametrize("seed", range(40))
def test_equals_the_naive_loop(seed, separator, isolate):
    rng = random.Random(seed)
    count = iter(range(10**6))
    documents = [[next(count) for _ in range(rng.choice([0, 1, 2, 3, 5, 8, 30]))] for _ in range(rng.randrange(12))]
    length = rng.choice([1, 2, 3, 5, 8, 13, 1000])
    blocks = pack_documents(iter(documents), length, separator=separator, isolate=isolate)
    assert blocks == naive(documents, length, separator, isolate)
    packed = [token for block in blocks for token in block.ids if token != -7]
    assert packed == list(range(len(packed)))
    assert all(sum(block.lengths) == len(block.ids) for block in blocks)
    assert all(len(block.ids) == length for block in blocks) or len(blocks) == 1


def test_by_hand():
    documents = [[1, 2, 3], [], [4, 5], [6]]
    assert pack_documents(documents, 3, separator=0, isolate=True) == [Block([1, 2, 3], (3,)), Block([0, 4, 5], (1, 2))]
    assert pack_documents(documents, 3, separator=0, isolate=False) == [Block([1, 2, 3], (3,)), Block([0, 4, 5], (3,))]
    assert pack_documents(documents, 3, separator=None, isolate=True) == [Block([1, 2, 3], (3,)), Block([4, 5, 6], (2, 1))]


def test_short_text_is_one_short_row():
    assert pack_documents([[1], [2]], 10, separator=None, isolate=True) == [Block([1, 2], (1, 1))]
    assert pack_documents([], 10, separator=0, isolate=False) == pack_documents([[]], 10, separator=0, isolate=False) == []
    with pytest.raises(InputError, match="length 0"):
        pack_documents([[1]], 0, separator=None, isolate=False)
