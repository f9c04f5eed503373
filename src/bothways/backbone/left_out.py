"""Weights that a checkpoint holds and the model gives no place: refused by name where they belong to the decoder.

transformers loads what fits and writes the rest into a log: attention biases under `attention_bias: false`, layers beyond
`num_hidden_layers`, norms of queries and keys, factors of an adapter that was never merged, scales of a quantisation whose settings
were lost. Such a model runs, and its states are wrong. Heads and towers beside the decoder are left out on purpose, and buffers that
older versions saved hold nothing that was trained; both are passed over, as is what the family itself declares needless
(`_keys_to_ignore_on_load_unexpected`), which transformers has taken out of the list before it arrives here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any

from bothways.errors import SourceError

log = logging.getLogger("bothways")

# buffers of older versions: tables of positions, causal masks, slopes, and scales of a quantised cache of keys and values
_BUFFERS = re.compile(
    r"(inv_freq|position_ids|token_type_ids|(cos|sin)_cached|masked_bias|relative_position_index|alibi|slopes|num_batches_tracked"
    r"|\.(attn|attention|self_attn|self_attention)\.bias|\b[kv]_scale|\bkv_scale|output_scale|rope_freqs(\.weight)?|embed_positions\.weights)$"
)
# modules beside a decoder: heads of language models, classifiers and rewards, and towers of other kinds of input
_BESIDE = re.compile(
    r"(^|\.)(\w*lm_head\w*|embed_out|score|\w*classifier\w*|\w*head|\w*heads|cls|qa_outputs|pooler|summary|\w*predictions|pred_layer|lm_loss|decoder\.bias|mtp\w*|eh_proj"
    r"|vision\w*|visual\w*|audio\w*|image\w*|multi_modal_projector|mm_projector|multimodal\w*|video\w*|speech\w*|talker|code2wav)(\.|$)"
)
# traces of what was put around a model, which change its weights' meaning
_LEFTOVERS = re.compile(
    r"(lora_|\.base_layer\.|_orig_mod\.|\.modules_to_save\.|qweight|qzeros|\.scales$|\.absmax|quant_map|quant_state|\.SCB$|weight_scale)"
)


def refuse_left_out(name: str, model: Any, keys: Iterable[str]) -> None:
    """Raise SourceError for weights of the decoder that loading has left out; warn of those that nobody knows.

    Args:
        name: what the user asked for; opens the line.
        model: what was loaded: a bare decoder, an encoder-only model, or one with a head.
        keys: names in the checkpoint that found no place.

    Raises:
        SourceError: some belong to the decoder; names the first of them.
    """
    sorted_keys = sorted(key for key in keys if not _BUFFERS.search(key))
    inside = [key for key in sorted_keys if _LEFTOVERS.search(key) or _is_inside(key, model)]
    if inside:
        first = ", ".join(inside[:3])
        raise SourceError(
            f"{name}: the checkpoint holds {len(inside)} weights that {type(model).__name__} has no place for under this config.json "
            f"({first}{', …' if len(inside) > 3 else ''}), so that its states would be wrong; {_remedy(inside)}"
        )
    unknown = [key for key in sorted_keys if not _BESIDE.search(key)]
    if unknown:
        log.warning("%s: %d weights of the checkpoint are not used: %s", name, len(unknown), ", ".join(unknown[:3]))


def _is_inside(key: str, model: Any) -> bool:
    """Whether a name belongs to the decoder: below the name that the family gives it, or below one of its own modules."""
    slot = f"{getattr(model, 'base_model_prefix', '')}."
    decoder = getattr(model, "base_model", model)
    own = key.removeprefix(slot) if slot != "." else key
    first = own.split(".")[0]
    if first in {child for child, _ in decoder.named_children()}:
        return not _BESIDE.match(own) and ".lm_head." not in own
    return own != key and not _BESIDE.search(own)


def _remedy(inside: list[str]) -> str:
    if any("lora_" in key or ".base_layer." in key for key in inside):
        return "merge the adapter into the weights, or give base and adapter apart"
    if any(_LEFTOVERS.search(key) for key in inside):
        return (
            "restore the config.json that it was saved with (its quantization_config is missing), or give the unquantised model"
        )
    if all(key.endswith("bias") for key in inside):
        return "restore the config.json that it was saved with (attention_bias, mlp_bias and the like)"
    return "restore the config.json that it was saved with, or fetch the model again"
