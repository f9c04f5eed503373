"""Layers behind the poolings that are modules of their own: saved and read like those behind a
stock pooling.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

import bothways as bw
from bothways.encoder.folder.head_modules import Headed, with_mlp
from bothways.objectives.contrastive_base import mlp_layer
from bothways.pooling import PoolingConfig
from tiny import SENTENCES, tiny_llama

CPU: dict[str, Any] = {"dtype": "float32", "device": "cpu"}
POOLINGS: dict[str, Any] = {
    "latent": {"mode": "latent_attention", "latents": 4, "heads": 2},
    "self": {"mode": "self_attention", "heads": 2},
    "last": {"mode": "last_tokens", "tokens": 3},
    "mean": "mean",
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("name", POOLINGS)
def test_a_trained_layer_and_a_cut_come_back(base: Path, tmp_path: Path, name: str, normalize: bool) -> None:
    encoder = bw.convert(base, **CPU)
    torch.manual_seed(1)
    pooling = PoolingConfig.of(POOLINGS[name]).build(32)
    layered = with_mlp(pooling, mlp_layer(32), width=32)
    for number, each in enumerate(
        (layered, Headed(pooling, layered.layers, width=32, keep=8), Headed(pooling, [], width=32, keep=8))
    ):
        encoder.pooling, encoder.options.normalize = each, normalize and number == 0
        expected = encoder.encode(SENTENCES)
        assert expected.shape[1] == (32, 8, 8)[number]
        folder = tmp_path / str(number)
        encoder.save(folder)
        np.testing.assert_allclose(bw.load(folder, **CPU).encode(SENTENCES), expected, atol=1e-6)
        theirs = SentenceTransformer(str(folder), device="cpu", trust_remote_code=name != "mean")
        np.testing.assert_allclose(theirs.encode(SENTENCES), expected, atol=1e-5)
