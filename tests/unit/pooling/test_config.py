"""Which pooling is meant: names, mappings, sizes, and one clear line for what cannot be."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bothways.errors import InputError
from bothways.pooling import POOLINGS, LatentAttention, Pooling, PoolingConfig, SelfAttention
from bothways.training.recipe.recipe import Recipe
from unit.training.material import mntp


def test_names_mappings_and_configs_mean_the_same() -> None:
    config = PoolingConfig(mode="latent_attention", latents=4)
    assert PoolingConfig.of({"mode": "latent_attention", "latents": 4}) == config
    assert PoolingConfig.of(config) is config
    assert PoolingConfig.of("cls").mode == "bos"
    assert PoolingConfig.of("cls + mean").mode == "bos+mean"
    assert PoolingConfig.of("cls+mean").fits(PoolingConfig.of("bos+mean").build(8), 8)
    assert not PoolingConfig.of("cls+mean").fits(Pooling("mean"), 8)
    for name in POOLINGS:
        assert isinstance(PoolingConfig.of(name).build(8), Pooling)
    assert isinstance(PoolingConfig.of("latent_attention").build(8), LatentAttention)
    assert isinstance(PoolingConfig.of("self_attention").build(8), SelfAttention)
    assert [PoolingConfig.of(name).trained for name in ("mean", "latent_attention", "self_attention")] == [False, True, True]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "median",
            "pooling: unknown mode 'median'; did you mean 'mean'\\? one of mean, weighted_mean, last, last_tokens, bos, max, "
            "mean_sqrt_len, latent_attention, self_attention",
        ),
        ({"mode": "median"}, "pooling: mode: unknown mode 'median'"),
        ("cls+median", r"^pooling: unknown mode 'median' in 'cls\+median'; .*one of bos, max, mean"),
        ({"mode": "mean+self_attention"}, "^pooling: mode: unknown mode 'self_attention' in"),
        ({"mode": "mean+bos", "tokens": 3}, r"pooling: tokens: mean\+bos pooling does not have it; leave it out"),
        ({"mode": "latent_attention", "latent": 4}, "pooling: unknown key 'latent'; did you mean 'latents'?"),
        ({"mode": "latent_attention", "latents": 0}, r"pooling: latents: Input should be greater than or equal to 1 \(got 0\)"),
        ({"mode": "latent_attention", "form": "mean"}, "pooling: form: Input should be 'code' or 'paper'"),
        ({"mode": "mean", "latents": 4}, "pooling: latents: mean pooling does not have it; leave it out"),
        ({"mode": "self_attention", "form": "paper"}, "pooling: form: self_attention pooling does not have it"),
        ({"latents": 4}, "pooling: mode: Field required"),
        (3, r"pooling: must be a name or a mapping with a mode \(got int\)"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        PoolingConfig.of(value)
    assert "\n" not in str(caught.value)


def test_the_paper_s_form_shares_the_width_out() -> None:
    assert PoolingConfig(mode="latent_attention", form="paper", heads=8).build(16).settings["head_width"] == 2
    for sizes in ({"heads": 5}, {"heads": 8, "head_width": 16}):
        with pytest.raises(
            InputError, match="pooling: form 'paper' has no projections, so its heads must divide the states' width 16"
        ):
            PoolingConfig.of({"mode": "latent_attention", "form": "paper", **sizes}).build(16)


def test_fits() -> None:
    config = PoolingConfig(mode="latent_attention", latents=4, heads=2)
    module = config.build(8)
    assert config.fits(module, 8)
    assert PoolingConfig(mode="latent_attention", latents=4, heads=2, head_width=8).fits(module, 8)
    assert not PoolingConfig(mode="latent_attention", latents=5, heads=2).fits(module, 8)
    assert not PoolingConfig(mode="self_attention", heads=2).fits(module, 8)
    assert not config.fits(Pooling("mean"), 8)
    assert PoolingConfig(mode="mean").fits(Pooling("mean"), 8)


def made(**changes: Any) -> Recipe:
    return Recipe.from_values({"name": "test", "base": "base", "stages": [mntp()], **changes})


def test_a_recipe_takes_both_and_reads_itself_back() -> None:
    assert made(pooling="latent_attention").pooling == "latent_attention"
    sized = made(pooling={"mode": "latent_attention", "latents": 4})
    assert sized.pooling == PoolingConfig(mode="latent_attention", latents=4)
    for recipe in (made(), made(pooling="cls"), sized):
        assert Recipe.from_yaml(recipe.to_yaml()) == recipe
        assert Recipe.from_yaml(recipe.to_yaml()).fingerprint() == recipe.fingerprint()
    assert sized.fingerprint() != made(pooling={"mode": "latent_attention", "latents": 5}).fingerprint()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("median", "recipe: pooling: unknown mode 'median'; did you mean 'mean'? one of mean"),
        ({"mode": "latent_attention", "latent": 4}, "recipe: pooling: unknown key 'latent'; did you mean 'latents'?"),
        ({"mode": "latent_attention", "heads": 0}, "recipe: pooling: heads: Input should be greater than or equal to 1"),
    ],
)
def test_a_recipe_says_what_is_wrong(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        made(pooling=value)


@pytest.mark.parametrize("mode", ["latent_attention", "self_attention"])
def test_a_block_that_starts_as_the_mean_is_the_mean_and_learns(mode: str) -> None:
    """The vectors of a fresh block equal mean pooling, and a step moves every matrix within two."""
    torch.manual_seed(0)
    states, mask = torch.randn(11, 16), torch.tensor([1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1], dtype=torch.bool)
    segments = torch.tensor([0] * 4 + [1] * 7)
    block = PoolingConfig(mode=mode, heads=2, head_width=4, start="mean").build(16, seed=3)
    mean = PoolingConfig(mode="mean").build(16)
    torch.testing.assert_close(block(states, mask, segments, 2), mean(states, mask, segments, 2), atol=1e-5, rtol=0)
    random = PoolingConfig(mode=mode, heads=2, head_width=4).build(16, seed=3)
    assert (random(states, mask, segments, 2) - mean(states, mask, segments, 2)).abs().max() > 1e-2
    start = {name: each.detach().clone() for name, each in block.named_parameters()}
    optimizer = torch.optim.SGD(block.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        (block(states, mask, segments, 2) - 1).square().sum().backward()
        optimizer.step()
    assert all(not torch.equal(each, start[name]) for name, each in block.named_parameters())


def test_where_a_start_as_the_mean_is_refused() -> None:
    with pytest.raises(InputError, match="form 'paper' adds nothing"):
        PoolingConfig.of({"mode": "latent_attention", "form": "paper", "start": "mean"})
    with pytest.raises(InputError, match="start: mean pooling does not have it"):
        PoolingConfig.of({"mode": "mean", "start": "mean"})
