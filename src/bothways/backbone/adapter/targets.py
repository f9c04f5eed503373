"""Finds the layers and parameters of a decoder that an adapter's settings select.

Open it when a target is not found, or to see which layers "all-linear" and "attention" mean.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.errors import InputError


def whole_names(model: nn.Module, config: LoraConfig) -> list[str]:
    """List the parameters that `config.train_whole` selects.

    You can call it before or after an adapter is attached.

    Raises:
        InputError: if a part of `train_whole` occurs in no name.
    """
    names = [
        name
        for name, _ in model.named_parameters()
        if ".lora_" not in name and ".base_layer." not in name
    ]
    parts = config.train_whole or ()
    for part in parts:
        if not any(part in name for name in names):
            known = sorted(
                {
                    name.removesuffix(".weight").split(".")[-1]
                    for name in names
                    if name.endswith(".weight")
                }
            )
            raise InputError(
                f"adapter.train_whole: no parameter's name contains {part!r}; there are {', '.join(known)}"
            )
    return [name for name in names if any(part in name for part in parts)]


def target_names(model: nn.Module, config: LoraConfig) -> list[str]:
    """List the full names of the linear layers in the decoder blocks that `config.targets` selects.

    For Llama, Mistral and Qwen, "all-linear" gives the published seven: q, k, v, o, gate, up, down.

    As in peft, a target is a full name or the end of a name after a dot. So v_proj selects
    layers.0.self_attn.v_proj but not layers.0.self_attn.qkv_proj.

    Raises:
        InputError: if no layer has the name of a target, or if the rank exceeds that of every
            layer.
    """
    from transformers.pytorch_utils import Conv1D

    linear = [
        f"{prefix}.{name}"
        for prefix, module_list in decoder_blocks(model)
        for name, module in module_list.named_modules()
        if isinstance(module, (nn.Linear, Conv1D))
    ]
    if config.targets == "all-linear":
        chosen = {"all-linear": linear}
    elif config.targets == "attention":
        chosen = {"attention": [name for name in linear if _in_attention(model, name)]}
    else:
        chosen = {
            target: [name for name in linear if f".{name}".endswith(f".{target}")]
            for target in config.targets
        }
    missing = [target for target, found in chosen.items() if not found]
    if missing or not chosen:
        known = ", ".join(sorted({name.split(".")[-1] for name in linear})) or "none"
        raise InputError(
            f"adapter.targets: no linear layer of the decoder blocks is named {missing[0] if missing else ()!r}; there are {known}"
        )
    picked = {name for found in chosen.values() for name in found}
    names = [name for name in linear if name in picked]
    widest = max(min(model.get_submodule(name).weight.shape) for name in names)  # type: ignore[arg-type]
    if config.r > widest:
        raise InputError(
            f"adapter.r: a rank of {config.r}, and none of the {len(names)} target layers has more than {widest}; lower r, or train "
            "every weight (adapter: null)"
        )
    return names


def _in_attention(model: nn.Module, name: str) -> bool:
    """Tell if a layer lies inside a module that its family calls attention."""
    parts = name.split(".")
    holders = (model.get_submodule(".".join(parts[:end])) for end in range(1, len(parts)))
    return any("attention" in type(holder).__name__.lower() for holder in holders)


def decoder_blocks(model: nn.Module) -> list[tuple[str, nn.ModuleList]]:
    """Find the lists of decoder blocks, each by its name. A model may have several.

    They are the module lists as long as the model is deep. This leaves out embeddings, heads and
    poolers without a table of families. If no list has that length, all lists count.
    """
    config_of_model: Any = getattr(model, "config", None)
    text_config = config_of_model.get_text_config() if config_of_model is not None else None
    depth = getattr(text_config, "num_hidden_layers", None)
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
    ]
    blocks = [(name, module) for name, module in lists if len(module) == depth] or lists
    # An expert list inside a block may happen to be as long as the model is deep. Only the
    # outermost list counts.
    return [
        (name, module)
        for name, module in blocks
        if not any(name.startswith(f"{other}.") for other, _ in blocks)
    ]
