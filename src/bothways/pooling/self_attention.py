"""Self-attention pooling on packed rows: one more layer over the tokens of a text, then the mean.

NV-Embed compares its latent attention with it (arXiv 2405.17428, tables 2 and 3). It runs an
attention plan, like the encoder's own layers, so texts of a pass never see each other. The plan is
bidirectional for encoders of either direction, as in the paper, because the direction belongs to
the language model below. A text's tokens see its instruction, but the instruction is not pooled.

Letters: T tokens, N texts, H width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bothways.attention.kernel import execute
from bothways.attention.plan import AttentionPlan
from bothways.pooling.attention_pooling import HEADS, SelfLayer, mean
from bothways.pooling.pool import pooled_tokens


class SelfAttention(nn.Module):
    """One vector per text, with parameters that are trained together with the encoder's.

    Args:
        width: H, of the states and of the vectors.
        heads: number of attention heads.
        head_width: width of each head. If None, H, as in `LatentAttention`.
    """

    mode = "self_attention"

    def __init__(self, width: int, *, heads: int = HEADS, head_width: int | None = None) -> None:
        super().__init__()
        self.dimension = width
        self.layer = SelfLayer(width, heads=heads, head_width=head_width)

    @property
    def settings(self) -> dict[str, Any]:
        """Mode and all sizes, sufficient to build this module again."""
        return {"mode": self.mode, "heads": self.layer.heads, "head_width": self.layer.head_width}

    def forward(self, states: Tensor, mask: Tensor, segments: Tensor, rows: int) -> Tensor:
        """Pool. Arguments are those of `Pooling.forward`.

        Computed in float32, the type of the module's weights, for states of any type.

        Returns:
            (N, H).

        Raises:
            InputError: a text has no pooled token.
        """
        mask = pooled_tokens(mask, segments, rows)
        real = segments < rows  # filler is not a text and costs nothing here
        states, mask, segments = states[real], mask[real], segments[real]
        plan = AttentionPlan(tuple(torch.bincount(segments, minlength=rows).tolist()))
        with torch.autocast(states.device.type, enabled=False):
            states = states.to(self.layer.norm.weight.dtype)
            mixed = self.layer(states, lambda query, key, value: execute(query, key, value, plan))
            return mean(mixed[mask], segments[mask], rows)

    def extra_repr(self) -> str:
        """Return the sizes, for printing."""
        return ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
