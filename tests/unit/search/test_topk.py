"""Exact top-K: the same as sorting everything, whatever the blocks and however many scores tie."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bothways.errors import InputError
from bothways.search.topk import TopK, spans

QUERIES, DOCUMENTS = 11, 103


@pytest.mark.parametrize("levels", [1, 3, 10**6])  # from "all scores equal" to "hardly any tie"
@pytest.mark.parametrize(("block", "tile"), [(7, 3), (64, 11), (500, 4)])
@pytest.mark.parametrize("depth", [1, 10, 200])
def test_blocks_and_ties_do_not_matter(levels: int, block: int, tile: int, depth: int) -> None:
    scores = (np.random.default_rng(levels).integers(0, levels, (QUERIES, DOCUMENTS)) / levels).astype(np.float32)
    scores[3, 5:] = -np.inf
    top = TopK(QUERIES, depth)
    for columns in spans(DOCUMENTS, block):
        for rows in spans(QUERIES, tile):
            top.update(torch.from_numpy(scores[rows, columns].copy()), rows.start, columns.start)
    places, best = top.best()
    for number in range(QUERIES):
        order = [i for i in sorted(range(DOCUMENTS), key=lambda i: (-scores[number, i], i)) if scores[number, i] > -np.inf]
        assert places[number][places[number] >= 0].tolist() == order[:depth]
        assert best[number][places[number] >= 0].tolist() == scores[number, order[:depth]].tolist()
    assert (best[places < 0] == -np.inf).all()


def test_nothing_to_keep() -> None:
    with pytest.raises(InputError, match="best 0 documents of 3"):
        TopK(3, 0)
