"""The choice of a pooling as a typed value: a name, and sizes for poolings that are trained.

Only this module knows all poolings. The modules themselves take plain arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import nn

from bothways.config import Strict, parse
from bothways.errors import InputError
from bothways.nearest import meant
from bothways.pooling.attention_pooling import HEADS, LATENTS, LatentLayer, SelfLayer
from bothways.pooling.latent_attention import LatentAttention
from bothways.pooling.pool import (
    ALIASES,
    JOINED,
    LAST_TOKENS,
    LAYERED,
    POOLINGS,
    Concatenated,
    Pooling,
    parts_of,
)
from bothways.pooling.self_attention import SelfAttention

TRAINED = ("latent_attention", "self_attention")
"""Poolings with parameters."""
KNOWN = (*POOLINGS, *TRAINED, *LAYERED)


class PoolingConfig(Strict):
    """How token states become one vector. Defaults are those of nvidia/NV-Embed-v1."""

    mode: str = Field(
        description="mean, weighted_mean, last, last_tokens, bos, max, mean_sqrt_len, first_last_avg, latent_attention, "
        "self_attention, or several joined by +, for example bos+mean"
    )
    tokens: int = Field(
        default=LAST_TOKENS,
        ge=1,
        description="last_tokens: how many states are averaged. LLaRA uses 8",
    )
    latents: int = Field(
        default=LATENTS, ge=1, description="latent_attention: entries of the trained dictionary"
    )
    heads: int = Field(default=HEADS, ge=1, description="number of attention heads")
    head_width: int | None = Field(
        default=None,
        ge=1,
        description="width of each head. If null, the width of the model's states",
    )
    form: Literal["code", "paper"] = Field(
        default="code",
        description="latent_attention: NVIDIA's published structure, or the formula of the paper's text",
    )
    start: Literal["random", "mean"] | None = Field(
        default=None,
        description="latent_attention (form code), self_attention: weights of a new block. mean: its vectors are those of mean "
        "pooling until it is trained. If null, random, as in NVIDIA's code",
    )

    @field_validator("mode")
    @classmethod
    def _known(cls, value: str) -> str:
        return known_mode(value)

    @model_validator(mode="after")
    def _options_mean_something(self) -> PoolingConfig:
        used = {
            "latent_attention": {"latents", "heads", "head_width", "form", "start"},
            "self_attention": {"heads", "head_width", "start"},
            "last_tokens": {"tokens"},
        }
        for name in ("latents", "heads", "head_width", "form", "tokens", "start"):
            default = type(self).model_fields[name].default
            if name not in used.get(self.mode, set()) and getattr(self, name) != default:
                raise ValueError(f"{name}: {self.mode} pooling does not have it; leave it out")
        if self.start == "mean" and self.form == "paper":
            raise ValueError(
                "start: form 'paper' adds nothing to the tokens' own states, so it cannot start as their mean; use form code"
            )
        return self

    @property
    def trained(self) -> bool:
        """Whether this pooling has parameters."""
        return self.mode in TRAINED

    @classmethod
    def of(
        cls, value: str | Mapping[str, Any] | PoolingConfig, *, where: str = "pooling"
    ) -> PoolingConfig:
        """Convert a name, a mapping or a config to a config.

        For example, `PoolingConfig.of({"mode": "latent_attention", "latents": 64})`.

        Raises:
            InputError: an unknown name or key, or a value out of range.
        """
        if isinstance(value, PoolingConfig):
            return value
        if not isinstance(value, (str, Mapping)):
            raise InputError(
                f"{where}: must be a name or a mapping with a mode (got {type(value).__name__})"
            )
        if not isinstance(value, str):
            return parse(cls, value, where=where)
        try:
            return cls(mode=known_mode(value))
        except ValueError as error:
            raise InputError(f"{where}: {error}") from None

    def check(self, width: int) -> None:
        """Raise InputError if the sizes do not fit states of this width."""
        if self.form != "paper":
            return
        share = self.head_width or width // self.heads
        if share * self.heads != width:
            raise InputError(
                f"pooling: form 'paper' has no projections, so its heads must divide the states' width {width}, but {self.heads} heads of "
                f"{share} do not; choose a number of heads that divides {width}, and no head_width"
            )

    def build(self, width: int, *, seed: int = 0) -> nn.Module:
        """Build the module (states, mask, segments, rows) → (N, H), in float32 on the CPU.

        Args:
            width: H, width of the states.
            seed: for the initial weights (latents N(0, 1), linear layers torch's default, as in
                NVIDIA's code). Torch's own generator is not changed.

        Raises:
            InputError: the sizes do not fit the width.
        """
        if JOINED in self.mode:
            return Concatenated(self.mode, width=width)
        if not self.trained:
            return Pooling(self.mode, tokens=self.tokens)
        self.check(width)
        sizes: dict[str, Any] = {"heads": self.heads, "head_width": self.head_width}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            made: SelfAttention | LatentAttention
            if self.mode == "self_attention":
                made = SelfAttention(width, **sizes)
            else:
                made = LatentAttention(width, latents=self.latents, form=self.form, **sizes)
        if self.start == "mean":
            _start_as_mean(made.layer)
        return made

    def fits(self, module: nn.Module, width: int) -> bool:
        """Return whether `module` is like the result of `build(width)`. Weights may differ."""
        if not self.trained:
            tokens = self.tokens if self.mode == "last_tokens" else 1
            return (
                getattr(module, "mode", None) == self.mode
                and getattr(module, "tokens", 1) == tokens
            )
        settings = getattr(module, "settings", None)
        return isinstance(settings, dict) and settings == getattr(
            self._on_meta(width), "settings", None
        )

    def _on_meta(self, width: int) -> nn.Module:
        with torch.device("meta"):
            return self.build(width)


def known_mode(mode: str) -> str:
    """Return the name of a known mode, without aliases. For example, "cls+mean" gives "bos+mean".

    Raises:
        ValueError: the mode is unknown.
    """
    if JOINED in mode:
        try:
            return JOINED.join(parts_of(mode))
        except InputError as error:
            raise ValueError(str(error).removeprefix("pooling: ")) from None
    name = ALIASES.get(mode, mode)
    if name not in KNOWN:
        raise ValueError(f"unknown mode {mode!r}; {meant(mode, KNOWN)}one of {', '.join(KNOWN)}")
    return name


def _start_as_mean(layer: LatentLayer | SelfLayer) -> None:
    """Set the last matrices of attention and MLP to zero, so that the block changes no state.

    Their gradients are not zero. These two learn first, and then the weights below them.
    """
    with torch.no_grad():
        layer.output.weight.zero_()
        layer.feed_forward.contract.weight.zero_()
        layer.feed_forward.contract.bias.zero_()
