"""Temporary states for the doctor: training, checkpointing, an adapter, merged weights.

None of them leaves a trace: modes, flags, modules and weights are restored bit by bit.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bothways.encoder.module import EncoderModule

if TYPE_CHECKING:
    pass


@contextmanager
def untouched(encoder: EncoderModule) -> Iterator[None]:
    """Restore modes and requires_grad flags of the encoder afterwards."""
    modes = [(module, module.training) for module in encoder.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in encoder.parameters()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


@contextmanager
def training_mode(model: nn.Module) -> Iterator[None]:
    """Switch to training mode with gradients."""
    modes = [(module, module.training) for module in model.modules()]
    model.train()
    try:
        with torch.enable_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def differentiable(weight: nn.Parameter) -> Iterator[None]:
    """Let one weight require its gradient."""
    before = weight.requires_grad
    weight.requires_grad_(True)
    try:
        yield
    finally:
        weight.requires_grad_(before)


@contextmanager
def checkpointing(model: Any, active: bool) -> Iterator[None]:
    """Switch gradient checkpointing on or off.

    Switches, hooks and attributes of every module are restored afterwards.
    """
    switches = [
        (m, m.gradient_checkpointing)
        for m in model.modules()
        if isinstance(getattr(m, "gradient_checkpointing", None), bool)
    ]
    attributes = [(module, set(vars(module))) for module in model.modules()]
    enabled = active and not any(before for _, before in switches)
    if enabled:
        with _no_warnings():
            model.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={"use_reentrant": False}
            )
    elif not active:
        for module, _ in switches:
            module.gradient_checkpointing = False
    try:
        yield
    finally:
        if enabled:
            with _no_warnings():
                model.gradient_checkpointing_disable()
            if hasattr(model, "_require_grads_hook"):
                model.disable_input_require_grads()
        for module, before in switches:
            module.gradient_checkpointing = before
        for module, names in attributes:
            for name in set(vars(module)) - names:
                delattr(module, name)


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Silence a warning: transformers 5.23 renames these methods, 5.2 has only the old names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def random_adapter(model: nn.Module) -> Iterator[None]:
    """Put a random LoRA on the first block's linear layers.

    The same modules are restored afterwards.
    """
    from peft import LoraConfig, inject_adapter_in_model

    from bothways.backbone.adapter.exact_targets import exact_targets
    from bothways.backbone.adapter.lora_config import LoraConfig as Settings
    from bothways.backbone.adapter.targets import target_names

    names = target_names(model, Settings())[:8]
    modules = {name: model.get_submodule(name) for name in names}
    attributes = set(vars(model))
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    torch.manual_seed(0)
    settings: Callable[..., Any] = LoraConfig
    config = settings(
        r=4, lora_alpha=8, lora_dropout=0.0, target_modules=names, init_lora_weights=False
    )
    with exact_targets(model, config):
        inject_adapter_in_model(config, model)
    model.eval()
    try:
        yield
    finally:
        for name, module in modules.items():
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module)
        for attribute in set(vars(model)) - attributes:
            delattr(model, attribute)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


@contextmanager
def merged(model: nn.Module) -> Iterator[None]:
    """Merge the adapter into its weights, and restore the same bits afterwards.

    Subtracting the adapter would not give the same bits.
    """
    from bothways.backbone.adapter.lora import adapted_weight, lora_layers

    found: list[tuple[Any, Tensor]] = []
    for _, layer in lora_layers(model):
        found.append((layer, adapted_weight(layer).detach().clone()))
        layer.merge()
    try:
        yield
    finally:
        for module, weight in found:
            module.unmerge()
            adapted_weight(module).data.copy_(weight)
