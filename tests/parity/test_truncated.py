"""`truncate_dim` on a folder that ends in Normalize: cut first, then normalized, which
sentence-transformers does when asked.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import bothways as bw
from tiny import tiny_llama

sentence_transformers = pytest.importorskip("sentence_transformers")
TEXTS = ["a cat", "the dog sat on the mat", "x"]
EXACT = 1e-6


def test_cut_vectors_are_unit_vectors(tmp_path: Path) -> None:
    encoder = bw.convert(tiny_llama(tmp_path / "base"), dtype="float32")
    raw = encoder.encode(TEXTS)[:, :8]
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    encoder.options.normalize = True
    encoder.save(tmp_path / "saved")
    loaded = bw.load(tmp_path / "saved", dtype="float32")
    found = loaded.encode(TEXTS, truncate_dim=8)
    assert np.abs(found - unit).max() < EXACT
    assert np.abs(loaded.encode(TEXTS, truncate_dim=8, normalize_embeddings=False) - raw).max() < EXACT
    ((_, streamed),) = loaded.encode_stream(TEXTS, truncate_dim=8)
    assert (streamed == found).all()
    model = sentence_transformers.SentenceTransformer(
        str(tmp_path / "saved"), device="cpu", model_kwargs={"dtype": torch.float32}
    )
    theirs = model.encode(TEXTS, truncate_dim=8)
    # the same direction, and shorter: if this ever fails, the docstring of `encode` and docs/hub.md
    # say too much
    assert (np.linalg.norm(theirs, axis=1) < 0.99).all()
    assert np.abs(theirs / np.linalg.norm(theirs, axis=1, keepdims=True) - found).max() < EXACT
    assert np.abs(model.encode(TEXTS, truncate_dim=8, normalize_embeddings=True) - found).max() < EXACT
