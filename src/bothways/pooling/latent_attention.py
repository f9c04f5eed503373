"""Latent-attention pooling on packed rows: attention to a trained dictionary, MLP, mean.

NV-Embed, arXiv 2405.17428 §3.1. The layer is in `attention_pooling`, which must work without
bothways, and this file adapts it to packed rows with a pool mask. A token never looks at another
token here, so only the pooled ones are computed. Instructions, filler and other texts cannot affect
the result in any packing.

Letters: T tokens, N texts, H width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bothways.pooling.attention_pooling import HEADS, LATENTS, LatentLayer, mean
from bothways.pooling.pool import pooled_tokens


class LatentAttention(nn.Module):
    """One vector per text, with parameters that are trained together with the encoder's.

    Args:
        width: H, of the states and of the vectors.
        latents: entries of the dictionary.
        heads: number of attention heads.
        head_width: width of each head. If None, H (form "code") or H / heads (form "paper").
        form: "code", the structure of NVIDIA's published weights, or "paper", the paper's formula.

    Raises:
        ValueError: the sizes do not fit, see `attention_pooling.LatentLayer`.
    """

    mode = "latent_attention"

    def __init__(
        self,
        width: int,
        *,
        latents: int = LATENTS,
        heads: int = HEADS,
        head_width: int | None = None,
        form: str = "code",
    ) -> None:
        super().__init__()
        self.dimension = width
        self.layer = LatentLayer(
            width, latents=latents, heads=heads, head_width=head_width, form=form
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Mode and all sizes, sufficient to build this module again."""
        layer = self.layer
        sizes = {
            "latents": len(layer.latents),
            "heads": layer.heads,
            "head_width": layer.head_width,
        }
        return {"mode": self.mode, **sizes, "form": layer.form}

    def forward(self, states: Tensor, mask: Tensor, segments: Tensor, rows: int) -> Tensor:
        """Pool. Arguments are those of `Pooling.forward`.

        Computed in float32, the type of the module's weights, for states of any type.

        Returns:
            (N, H).

        Raises:
            InputError: a text has no pooled token.
        """
        mask = pooled_tokens(mask, segments, rows)
        # a caller's autocast would round queries and latents to bfloat16
        with torch.autocast(states.device.type, enabled=False):
            mixed = self.layer(states[mask].to(self.layer.latents.dtype))
            return mean(mixed, segments[mask], rows)

    def extra_repr(self) -> str:
        """Return the sizes, for printing."""
        return ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
