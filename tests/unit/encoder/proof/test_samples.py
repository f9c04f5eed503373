"""The sample texts: how many a quick run takes, and a token that is changed."""

from __future__ import annotations

from pathlib import Path

import torch

import bothways as bw
from bothways.encoder.proof.samples import TEXTS, changed, rows_of
from tiny import tiny_llama


def test_a_quick_run_takes_three_texts(tmp_path: Path) -> None:
    encoder = bw.convert(tiny_llama(tmp_path / "base"), dtype="float32", device="cpu")
    assert [len(rows_of(encoder)), len(rows_of(encoder, quick=True))] == [len(TEXTS), 3]
    assert rows_of(encoder, quick=True) == rows_of(encoder)[:3]


def test_another_token_at_one_place() -> None:
    for ids, place, right in (
        ([5, 7, 9], 2, [5, 7, 5]),
        ([5, 7, 5], 2, [5, 7, 4]),  # the first token is no other one
        ([0, 7, 0], 2, [0, 7, 1]),  # there is no token below 0
        ([5, 7, 9], 0, [4, 7, 9]),
    ):
        given = torch.tensor(ids)
        assert changed(given, place).tolist() == right
        assert given.tolist() == ids
