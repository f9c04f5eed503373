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
def exact_targets(model: Any, config: Any) -> Iterator[None]:
    """Let names mean the layers of `model` that have them, while peft attaches an adapter.

    If peft would translate a name, it does not know the model's family inside the block.

    Args:
        model: a transformers model.
        config: peft's configuration of the adapter.
    """
    if not translated_by_peft(model, config):
        yield
        return
    known = model.config
    model.config = copy.copy(known)
    model.config.model_type = "unknown"
    try:
        yield
    finally:
        model.config = known


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


def translated_by_peft(model: Any, config: Any) -> bool:
    """Tell if plain peft would give targets of an adapter to the experts of `model`.

    Args:
        model: a transformers model.
        config: peft's configuration of the adapter.
    """
    try:
        from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
    except ImportError:  # an older peft translates nothing
        return False
    if not hasattr(config, "target_modules"):
        return False
    changed = copy.deepcopy(config)
    try:
        convert_peft_config_for_transformers(changed, model, None)
    except ValueError:  # gate_proj without up_proj, which lie in one tensor
        return True
    before, after = (_listed(each.target_modules) for each in (config, changed))
    return before != after


def _listed(targets: Iterable[str] | str | None) -> set[str]:
    return {targets} if isinstance(targets, str) else set(targets or ())
