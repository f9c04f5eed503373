"""Latent attention: the size of NVIDIA's model, and weights that the seed decides."""

from __future__ import annotations

import torch
from torch import nn

from bothways.pooling import LatentAttention, PoolingConfig, SelfAttention


def test_nvidia_s_size() -> None:
    with torch.device("meta"):
        latent, own = LatentAttention(4096), SelfAttention(4096)
    assert sum(p.numel() for p in latent.parameters()) == 740_356_096
    # without latents and their norm
    assert sum(p.numel() for p in own.parameters()) == 740_356_096 - 512 * 4096 - 2 * 4096
    assert latent.settings == {"mode": "latent_attention", "latents": 512, "heads": 8, "head_width": 4096, "form": "code"}
    assert LatentAttention(16).settings["head_width"] == 16
    assert LatentAttention(16, form="paper").settings["head_width"] == 2
    assert "latents=512" in repr(LatentAttention(16))


def test_initial_weights_are_a_function_of_the_seed() -> None:
    config = PoolingConfig(mode="latent_attention", latents=300, heads=2)
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    one, same, other = config.build(64, seed=1), config.build(64, seed=1), config.build(64, seed=2)
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters()))
    assert not torch.equal(one.layer.latents, other.layer.latents)
    assert abs(float(one.layer.latents.detach().std()) - 1) < 0.02  # N(0, 1): the error of 19,200 draws is 0.005
    assert not any(isinstance(module, nn.Dropout) for module in one.modules())
