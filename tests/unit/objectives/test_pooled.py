"""Texts in passes: sorted by length, in shapes of few kinds, each vector found again."""

from __future__ import annotations

import pytest
import torch

from bothways.config import parse
from bothways.errors import InputError
from bothways.objectives.graded import GradedConfig
from bothways.objectives.pooled import FILL, WORTH_KEEPING
from unit.objectives.small_encoder import TEXTS, make_encoder


@pytest.fixture
def objective():
    encoder = make_encoder()[0].eval()
    return encoder, GradedConfig(batch_tokens=48, graph_tokens=16).build(encoder)


def test_each_text_finds_its_vector(objective):
    encoder, made = objective
    batches, places = made.packed(encoder.tokenize(TEXTS))
    assert len(batches) > 1
    assert all(batch.plan.total % FILL == 0 for batch in batches)
    with torch.no_grad():
        vectors = torch.cat([encoder(batch) for batch in batches])[places]
    torch.testing.assert_close(vectors, torch.from_numpy(encoder.encode(TEXTS)), atol=1e-5, rtol=1e-4)


def test_large_batches_keep_no_activations(objective):
    encoder, made = objective
    batches, _ = made.packed(encoder.tokenize(TEXTS[:1]))
    total = sum(batch.plan.total for batch in batches)
    assert made._kept(batches) == (16 if total <= WORTH_KEEPING * 16 else 0)
    assert made._kept(batches * 10) == 0


def test_widths_are_checked_before_training(objective):
    encoder, _ = objective
    with pytest.raises(InputError, match="width 64 exceeds the vectors' 32 dimensions"):
        GradedConfig(matryoshka=(64,)).build(encoder)
    with pytest.raises(InputError, match="matryoshka_weights: there are no widths"):
        parse(GradedConfig, {"matryoshka_weights": [1.0]}, where="objective")
