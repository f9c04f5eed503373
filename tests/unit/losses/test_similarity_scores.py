"""Scores of every similarity against sentence-transformers', with their gradients."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers import SimilarityFunction

from bothways.losses.similarity_scores import similarity_scores
from bothways.similarity_names import SIMILARITIES, Similarity


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_scores_and_gradients_are_sentence_transformers(kind: Similarity) -> None:
    generator = torch.Generator().manual_seed(0)
    rows, columns = (torch.randn(count, 7, generator=generator, dtype=torch.float64) * 3 for count in (5, 9))
    rows.requires_grad_()
    found = similarity_scores(rows, columns, kind)
    theirs = SimilarityFunction.to_similarity_fn(kind)(rows, columns)
    torch.testing.assert_close(found, theirs, rtol=1e-9, atol=1e-9)
    weights = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    one, other = (torch.autograd.grad((scores * weights).sum(), rows)[0] for scores in (found, theirs))
    torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_equal_texts_and_half_precision(kind: Similarity) -> None:
    one = torch.tensor([[3.0, 4.0, 100.0]], requires_grad=True)
    rows = torch.cat([one, one + 1e-3])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = similarity_scores(rows, rows.bfloat16() if kind == "cosine" else rows, kind)
    assert found.dtype == torch.float32
    found.sum().backward()
    assert one.grad is not None and one.grad.isfinite().all()
    if kind == "euclidean":  # |a|² + |b|² - 2ab would give 0 or 0.03
        assert float(found[0, 1].detach()) == pytest.approx(-(3**0.5) * 1e-3, rel=0.02)
