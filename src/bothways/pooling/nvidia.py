"""Loads NVIDIA's published pooling weights into our module, name by name.

Names are those of nvidia/NV-Embed-v1 and v2 (`latent_attention_model`, a Perceiver block: 0 is
attention, 1 the MLP, each behind a norm). Form "code" has the same structure, so every tensor is
used unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bothways.errors import InputError
from bothways.pooling.attention_pooling import EXPANSION, HEADS
from bothways.pooling.latent_attention import LatentAttention

PREFIX = "latent_attention_model."
_BLOCKS = "cross_attend_blocks."
#: our parameter → NVIDIA's. In both, `key_value` holds keys and then values, and `expand` holds
#: values and then gates.
NAMES = {
    "layer.latents": "latents",
    "layer.norm.weight": f"{_BLOCKS}0.norm.weight",
    "layer.norm.bias": f"{_BLOCKS}0.norm.bias",
    "layer.context_norm.weight": f"{_BLOCKS}0.norm_context.weight",
    "layer.context_norm.bias": f"{_BLOCKS}0.norm_context.bias",
    "layer.query.weight": f"{_BLOCKS}0.fn.to_q.weight",
    "layer.key_value.weight": f"{_BLOCKS}0.fn.to_kv.weight",
    "layer.output.weight": f"{_BLOCKS}0.fn.to_out.weight",
    "layer.feed_forward_norm.weight": f"{_BLOCKS}1.norm.weight",
    "layer.feed_forward_norm.bias": f"{_BLOCKS}1.norm.bias",
    "layer.feed_forward.expand.weight": f"{_BLOCKS}1.fn.net.0.weight",
    "layer.feed_forward.expand.bias": f"{_BLOCKS}1.fn.net.0.bias",
    "layer.feed_forward.contract.weight": f"{_BLOCKS}1.fn.net.2.weight",
    "layer.feed_forward.contract.bias": f"{_BLOCKS}1.fn.net.2.bias",
}


def from_nvidia(tensors: Mapping[str, Tensor], *, heads: int = HEADS) -> LatentAttention:
    """Build the pooling of a published NV-Embed checkpoint, in float32.

    Args:
        tensors: the checkpoint's state dict, whole or only the pooling's part, with or without the
            prefix `latent_attention_model.`. Other parts are ignored.
        heads: `num_cross_heads` of its configuration, which the shapes do not show. All other sizes
            are read from the tensors.

    Raises:
        InputError: a tensor is missing or unknown, or the shapes contradict each other.
    """
    found = {
        name.removeprefix(PREFIX): value
        for name, value in tensors.items()
        if name.startswith((PREFIX, _BLOCKS, "latents"))
    }
    missing, unknown = (
        sorted(set(NAMES.values()) - found.keys()),
        sorted(found.keys() - set(NAMES.values())),
    )
    if missing or unknown:
        fault = (
            f"lacks {missing[0]}"
            if missing
            else f"holds {unknown[0]}, which this pooling does not have"
        )
        raise InputError(f"{PREFIX.rstrip('.')}: {fault}; expected the names of nvidia/NV-Embed-v1")
    latents, width = found["latents"].shape
    inner = len(found[NAMES["layer.query.weight"]])
    if inner % heads:
        raise InputError(
            f"{PREFIX.rstrip('.')}: {inner} query rows are not a multiple of {heads} heads; give the checkpoint's own number of heads"
        )
    with torch.device("meta"):
        module = LatentAttention(width, latents=latents, heads=heads, head_width=inner // heads)
    for name, parameter in module.named_parameters():
        given = found[NAMES[name]]
        if given.shape != parameter.shape:
            raise InputError(
                f"{PREFIX}{NAMES[name]}: shape {tuple(given.shape)}, expected {tuple(parameter.shape)} for width {width}, "
                f"{latents} latents and an MLP of {EXPANSION} times the width"
            )
    module.load_state_dict(
        {name: found[theirs].detach().float().clone() for name, theirs in NAMES.items()},
        assign=True,
    )
    return module
