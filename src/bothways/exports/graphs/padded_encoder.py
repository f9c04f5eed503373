"""The whole encoder as one module over padded batches: token ids and masks in, vectors out.

ONNX and OpenVINO run this module. Inside bothways texts are packed, but these runtimes need
batches. The module does the same computation over (B, L), with padding at the right.

Letters: B texts, L tokens, H hidden, D embedding.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bothways.attention.run import position_offset
from bothways.attention.stock import set_implementation
from bothways.attention.text_rope import rope_of_rows
from bothways.encoder.encoder import Encoder
from bothways.encoder.folder.head_modules import Headed
from bothways.errors import InputError
from bothways.exports.bidirectional import refuse_causal
from bothways.pooling.attention_pooling import LatentLayer

POOLINGS = ("mean", "weighted_mean", "last", "bos", "max", "latent_attention")


class PaddedEncoder(nn.Module):
    """An encoder over padded batches, in plain operations that exporters can trace.

    Args:
        encoder: bidirectional, with one of `POOLINGS`. Its weights are shared, not copied.

    Raises:
        InputError: if the encoder is causal, or its pooling is not in `POOLINGS`.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.mode = str(encoder.pooling.mode)
        refuse_causal(encoder)
        if encoder.reads != "last":
            raise InputError(
                f"export: {self.mode} pooling reads other layers than the last, and the graph has only the last"
            )
        if self.mode not in POOLINGS:
            raise InputError(
                f"export: the graph does not have {self.mode} pooling; it has {', '.join(POOLINGS)}"
            )
        self.backbone: Any = encoder.backbone
        self.offset = position_offset(encoder.backbone)
        takes = inspect.signature(encoder.backbone.forward).parameters
        self.takes_positions = "position_ids" in takes and encoder.execution == "packed"
        self.layer = next(
            (module for module in encoder.pooling.modules() if isinstance(module, LatentLayer)),
            None,
        )
        self.behind = encoder.pooling if isinstance(encoder.pooling, Headed) else None
        self.normalize = encoder.options.normalize

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, pool_mask: Tensor
    ) -> tuple[Tensor, ...]:
        """Encode a batch.

        Args:
            input_ids: (B, L) int64.
            attention_mask: (B, L) int64, 1 for tokens and 0 for padding, at the right or at the
                left.
            pool_mask: (B, L) int64, 1 for tokens that are pooled, 0 for padding and for the tokens
                of a prompt that the encoder does not pool.

        Returns:
            (B, D) float32, as the encoder gives them by default. If it normalizes, a second tensor
                has the vectors before that.
        """
        ids, mask, pool = self._to_the_left(input_ids, attention_mask, pool_mask)
        options: dict[str, Tensor] = {}
        if self.takes_positions:
            options["position_ids"] = (
                torch.arange(ids.shape[1], device=ids.device).expand_as(ids) + self.offset
            )
        # transformers makes each layer's mask of this, with kept windows too
        with rope_of_rows(self.backbone, mask.sum(1)):
            out = self.backbone(input_ids=ids, attention_mask=mask, use_cache=False, **options)
        vectors = self._pool(out.last_hidden_state.float(), pool * mask)
        if self.behind is not None:
            vectors = self.behind.transform(vectors)
        return (nn.functional.normalize(vectors, dim=-1), vectors) if self.normalize else (vectors,)

    @staticmethod
    def _to_the_left(ids: Tensor, mask: Tensor, pool: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Move texts with padding at the left, so that their first token has position 0."""
        skipped = (mask.cumsum(1) == 0).long().sum(1, keepdim=True)
        places = torch.arange(ids.shape[1], device=ids.device) + skipped
        places = torch.where(places < ids.shape[1], places, places - ids.shape[1])
        return ids.gather(1, places), mask.gather(1, places), pool.gather(1, places)

    def _pool(self, states: Tensor, mask: Tensor) -> Tensor:
        order = mask.cumsum(1)
        if self.mode in ("last", "bos"):
            wanted = order[:, -1:] if self.mode == "last" else torch.ones_like(order[:, -1:])
            chosen = ((order == wanted) & mask.bool()).float()
            return (states * chosen[..., None]).sum(1)
        if self.mode == "max":
            return states.masked_fill(~mask.bool()[..., None], torch.finfo(torch.float32).min).amax(
                1
            )
        if self.layer is not None:
            states = self.layer.read(
                states.reshape(-1, states.shape[-1]), *self.layer.dictionary()
            ).reshape(states.shape)
        weights = (order * mask if self.mode == "weighted_mean" else mask).float()
        return (states * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)


@contextmanager
def plain_attention(encoder: Encoder) -> Iterator[None]:
    """Use transformers' eager attention inside the block, and one product for all experts.

    Exporters can trace neither our attention nor a loop over experts. After the block the encoder
    has its own again.
    """
    config: Any = encoder.backbone.config
    before, experts = config._attn_implementation, getattr(config, "_experts_implementation", None)
    set_implementation(encoder.backbone, "eager")
    backbone: Any = encoder.backbone
    settable = experts is not None and backbone._can_set_experts_implementation()
    if settable:
        backbone.set_experts_implementation("batched_mm")
    try:
        yield
    finally:
        set_implementation(encoder.backbone, str(before))
        if settable:
            backbone.set_experts_implementation(experts)
