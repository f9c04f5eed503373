"""Rounds vectors to int8 or to signs in training, with the gradient of the unrounded ones.

The straight-through estimator (Bengio et al., arXiv 1308.3432): forward is the rounded vector,
backward is the identity. A search index then rounds vectors that were trained for it. Vectors are
first brought to length √D, so that a number and its sign are of one size.

Letters: N vectors, D embedding.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bothways.moved import old_names

QuantizedPrecision = Literal["int8", "binary"]


def straight_through(vectors: Tensor, precision: QuantizedPrecision) -> Tensor:
    """Return the rounded vectors (N, D), with the gradient of the vectors of length √D.

    Args:
        vectors: (N, D), of any length.
        precision: "binary" is 1 for numbers above 0, else -1, as in sentence-transformers'
            `quantize_embeddings`. "int8" divides the range of each dimension in this batch into 254
            equal steps around 0.
    """
    with torch.autocast(vectors.device.type, enabled=False):
        wide = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
        wide = F.normalize(wide, dim=-1) * wide.shape[-1] ** 0.5
        with torch.no_grad():
            if precision == "binary":
                rounded = torch.where(wide > 0, 1.0, -1.0).to(wide.dtype)
            else:
                step = wide.abs().amax(0).clamp_min(torch.finfo(wide.dtype).tiny) / 127
                rounded = (wide / step).round() * step
        through: Tensor = wide + (rounded - wide).detach()
        return through


__getattr__ = old_names(__name__)
