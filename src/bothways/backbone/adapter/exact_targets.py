"""Makes peft adapt the layers that a config names, in families with experts.

transformers 5 keeps the experts of a layer in two tensors. In such a family, peft 0.21 therefore
reads gate_proj, up_proj, down_proj, w1, w2, w3 and gate as names of experts, so that adapters
trained with transformers 4 can be loaded. It also does so with full names: an adapter for
`layers.0.mlp.shared_expert.up_proj` would train the experts of every layer, and not the shared
expert at all. The same goes for the dense layers of DeepSeek and GLM-4 MoE.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def exact_targets(model: Any) -> Iterator[None]:
    """Let names mean the layers of `model` that have them, while peft attaches an adapter.

    Inside the block, peft does not know the model's family, so it translates no name.
    """
    config = getattr(model, "config", None)
    if config is None:
        yield
        return
    unknown = copy.copy(config)
    unknown.model_type = "unknown"
    model.config = unknown
    try:
        yield
    finally:
        model.config = config


def fits_by_name(model: nn.Module, tensors: Iterable[str]) -> bool:
    """Tell if every factor of an adapter belongs to a linear layer or an embedding of `model`.

    For example, `layers.0.mlp.up_proj.lora_A.weight` belongs to `layers.0.mlp.up_proj`. The factors
    of single experts (`layers.0.mlp.experts.3.up_proj.lora_A.weight`) belong to no layer.

    Args:
        model: the model at which the names begin.
        tensors: names of the adapter's tensors. Those without factors do not count.
    """
    from transformers.pytorch_utils import Conv1D

    layers = {
        name
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Embedding, Conv1D))
    }
    return all(name.split(".lora_")[0] in layers for name in tensors if ".lora_" in name)
