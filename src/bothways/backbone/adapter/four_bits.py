"""QLoRA: rounds the frozen weights of the decoder blocks to 4 bits while an adapter trains on them.

    pip install 'bothways[qlora]'
    bothways train simcse --data sentences.txt --out runs/mine
        --set stages.simcse.adapter.load_in_4bit=true

bitsandbytes rounds to its type NF4 in blocks of 64 numbers, and rounds the blocks' scales too, as
the paper does. Embeddings, norms, the head and the adapter stay as they are. At the end of a stage
the adapter is merged into the weights as they were stored, not into the rounded ones.

It was verified on a CPU, against transformers and peft. It has not been run on GPUs.

QLoRA: arXiv 2305.14314.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from bothways.backbone.adapter.targets import decoder_blocks
from bothways.errors import InputError, MissingExtra


def check_installed() -> None:
    """Raise MissingExtra if bitsandbytes is not installed."""
    if find_spec("bitsandbytes") is None:
        raise MissingExtra("bitsandbytes", "qlora", "a base in 4 bits (adapter.load_in_4bit)")


def round_blocks(model: nn.Module) -> None:
    """Round the linear layers of the decoder blocks to 4 bits, in place.

    Args:
        model: a bare decoder with whole weights, on the device on which they are rounded. It may
            move to another one afterwards.

    Raises:
        MissingExtra: if bitsandbytes is not installed.
        InputError: if the blocks have no linear layers of torch, as in GPT-2, or if bitsandbytes
            cannot round on this machine.
    """
    check_installed()
    import bitsandbytes

    # It advises to install faster kernels for CPUs.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    found = [
        (f"{prefix}.{name}", module)
        for prefix, blocks in decoder_blocks(model)
        for name, module in blocks.named_modules()
        if type(module) is nn.Linear
    ]
    if not found:
        raise InputError(
            f"adapter.load_in_4bit: the decoder blocks of {type(model).__name__} have no linear layers that "
            "bitsandbytes can round; leave it out"
        )
    for name, layer in found:
        parent, _, child = name.rpartition(".")
        try:
            setattr(model.get_submodule(parent), child, _rounded(layer))
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"adapter.load_in_4bit: bitsandbytes {bitsandbytes.__version__} cannot round {name} on "
                f"{layer.weight.device} ({reason}); leave it out"
            ) from error
    # Peft asks for this, and then wraps the layers in its own class for them.
    model.is_loaded_in_4bit = True  # type: ignore[assignment]


def whole_count(model: nn.Module) -> int:
    """Count the parameters of a model, of which rounded ones share a byte."""
    count = 0
    for parameter in model.parameters():
        rounding: Any = getattr(parameter, "quant_state", None)
        count += parameter.numel() if rounding is None else int(rounding.shape.numel())
    return count


def _rounded(layer: nn.Linear) -> nn.Module:
    from bitsandbytes.nn import Linear4bit, Params4bit

    weight = layer.weight.detach()
    with torch.device("meta"):
        made: Any = Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=False,
            compute_dtype=weight.dtype,
            compress_statistics=True,
            quant_type="nf4",
        )
    made.weight = Params4bit(
        weight, requires_grad=False, compress_statistics=True, quant_type="nf4", module=made
    ).to(weight.device)
    made.bias = layer.bias
    # On CPUs with AVX512-BF16, bitsandbytes 0.50 would change the weights in the first pass without
    # a gradient: their scales become bfloat16. Layers narrower than 64 would fail.
    made.support_avx512bf16_for_cpu = False
    return made.train(layer.training)  # type: ignore[no-any-return]
