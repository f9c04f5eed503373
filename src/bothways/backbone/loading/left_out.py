"""Refuses checkpoints with weights of the decoder that the model does not have a place for.

transformers loads the tensors that fit and only logs the rest: attention biases under
`attention_bias: false`, layers beyond `num_hidden_layers`, norms of queries and keys, factors of an
adapter that was never merged, scales of a quantization with lost settings. Such a model runs, but
its states are wrong.

Two kinds are left out on purpose: heads and towers around the decoder, and buffers of older
versions, which hold nothing that was trained. Keys that the family itself declares needless
(`_keys_to_ignore_on_load_unexpected`) never arrive here, because transformers removes them first.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bothways.errors import SourceError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger("bothways")

# Buffers of older versions: tables of positions, causal masks, slopes, and scales of a quantized
# cache of keys and values.
_BUFFERS = re.compile(
    r"(inv_freq|position_ids|token_type_ids|(cos|sin)_cached|masked_bias|relative_position_index|alibi|slopes|num_batches_tracked"
    r"|\.(attn|attention|self_attn|self_attention)\.bias|\b[kv]_scale|\bkv_scale|output_scale|rope_freqs(\.weight)?|embed_positions\.weights)$"
)
# Modules around a decoder: heads of language models, classifiers and rewards, and towers for other
# kinds of input.
_BESIDE = re.compile(
    r"(^|\.)(\w*lm_head\w*|embed_out|score|\w*classifier\w*|\w*head|\w*heads|cls|qa_outputs|pooler|summary|\w*predictions|pred_layer|lm_loss|decoder\.bias|mtp\w*|eh_proj"
    r"|vision\w*|visual\w*|audio\w*|image\w*|multi_modal_projector|mm_projector|multimodal\w*|video\w*|speech\w*|talker|code2wav)(\.|$)"
)
# Traces of wrappers around a model, which change the meaning of its weights.
_LEFTOVERS = re.compile(
    r"(lora_|\.base_layer\.|_orig_mod\.|\.modules_to_save\.|qweight|qzeros|\.scales$|\.absmax|quant_map|quant_state|\.SCB$|weight_scale)"
)


def refuse_left_out(name: str, model: PreTrainedModel, keys: Iterable[str]) -> None:
    """Raise SourceError if loading left out weights of the decoder. Warn of unknown weights.

    Args:
        name: the model's name as the user gave it. The message starts with it.
        model: the loaded model: a bare decoder, an encoder-only model, or one with a head.
        keys: names in the checkpoint that did not find a place.

    Raises:
        SourceError: if some belong to the decoder. The message names up to three of them.
    """
    sorted_keys = sorted(key for key in keys if not _BUFFERS.search(key))
    inside = [key for key in sorted_keys if _LEFTOVERS.search(key) or _is_inside(key, model)]
    if inside:
        first = ", ".join(inside[:3])
        raise SourceError(
            f"{name}: the checkpoint holds {len(inside)} weights that {type(model).__name__} has no place for under this config.json "
            f"({first}{', …' if len(inside) > 3 else ''}), so its states would be wrong; {_remedy(inside)}"
        )
    unknown = [key for key in sorted_keys if not _BESIDE.search(key)]
    if unknown:
        log.warning(
            "%s: %d weights of the checkpoint are not used: %s",
            name,
            len(unknown),
            ", ".join(unknown[:3]),
        )


def _is_inside(key: str, model: PreTrainedModel) -> bool:
    """Tell if a name belongs to the decoder.

    It does if it lies below the name that the family gives the decoder, or below one of its own
    modules.
    """
    slot = f"{getattr(model, 'base_model_prefix', '')}."
    decoder = getattr(model, "base_model", model)
    own = key.removeprefix(slot) if slot != "." else key
    first = own.split(".")[0]
    if first in {child for child, _ in decoder.named_children()}:
        return not _BESIDE.match(own) and ".lm_head." not in own
    return own != key and not _BESIDE.search(own)


def _remedy(inside: list[str]) -> str:
    if any("lora_" in key or ".base_layer." in key for key in inside):
        return "merge the adapter into the weights, or give the base and the adapter separately"
    if any(_LEFTOVERS.search(key) for key in inside):
        return "restore the config.json that it was saved with (its quantization_config is missing), or give the unquantized model"
    if all(key.endswith("bias") for key in inside):
        return (
            "restore the config.json that it was saved with (attention_bias, mlp_bias and the like)"
        )
    return "restore the config.json that it was saved with, or fetch the model again"
