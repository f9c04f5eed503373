"""LoRA on the bare decoder, through peft: attach it, merge it with a proof, and count parameters.

The trainer uses it to attach and merge, the loader of published LLM2Vec folders to merge an adapter
from disk, and the dry run to count parameters on the meta device.

Paper: LoRA, https://arxiv.org/abs/2106.09685. LLM2Vec (https://arxiv.org/abs/2404.05961) puts it on
every linear layer of the decoder blocks with alpha = 2 r and dropout 0.05. Embeddings, norms and
the language-model head stay frozen. LoRA+ of LongLoRA (https://arxiv.org/abs/2309.12307) is LoRA on
the attention layers, with the embeddings and norms trained in full (`train_whole`).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from bothways.backbone.adapter.exact_targets import exact_targets
from bothways.backbone.adapter.four_bits import round_blocks
from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.backbone.adapter.new_tokens import fold_rows
from bothways.backbone.adapter.targets import target_names, whole_names
from bothways.dropout import Dropout
from bothways.errors import InputError

log = logging.getLogger("bothways")

#: The hidden states of an adapter and of its merged weights differ by float32 rounding, which grows
#: with depth. A wrong merge (a forgotten scale, a transposed factor) is off by the adapter's whole
#: effect. The tolerance is relative to the largest state.
MERGE_TOLERANCE = 1e-3


class ParameterCounts(NamedTuple):
    """Numbers of parameters."""

    trainable: int
    total: int


def attach(
    model: nn.Module, config: LoraConfig, *, seed: int = 0, whole_base: bool = False
) -> list[str]:
    """Freeze `model` and put a fresh float32 LoRA adapter into its decoder blocks, in place.

    The adapter changes nothing until it is trained, because B starts at zero. A is Kaiming-uniform
    and depends on `seed` alone. The parameters of `config.train_whole` stay trainable and become
    float32.

    Args:
        model: a bare decoder (or encoder) of transformers.
        config: rank, scale, dropout and targets.
        seed: seed of A.
        whole_base: keep the base's weights whole, also if `config.load_in_4bit` is set. A trained
            adapter is merged into these.

    Returns:
        The names of the adapted layers.

    Raises:
        InputError: if no layer matches the targets, if peft cannot adapt one, if no parameter's
            name contains a part of `train_whole`, or if the model already carries an adapter.
        RuntimeError: if peft adapted another layer.
    """
    from peft import inject_adapter_in_model

    if any(True for _ in lora_layers(model)):
        raise InputError(
            "the model already carries a LoRA adapter; merge it before attaching another"
        )
    names = target_names(model, config)
    whole = set(whole_names(model, config))
    model.requires_grad_(False)
    if config.load_in_4bit and not whole_base:
        round_blocks(model)
    with torch.random.fork_rng(devices=_cuda_devices(model)), warnings.catch_warnings():
        # peft warns that Conv1D layers (GPT-2) need fan_in_fan_out, and then sets it itself.
        warnings.filterwarnings("ignore", message=".*fan_in_fan_out.*")
        torch.manual_seed(seed)
        made = peft_config(config, names)
        try:
            with exact_targets(model, made):
                inject_adapter_in_model(made, model)
        except ValueError as error:
            # For example out_proj of Mamba, whose weights fused kernels read past the adapter.
            raise InputError(f"adapter.targets: {type(model).__name__}: {error}") from None
    if other := {name for name, _ in lora_layers(model)} - set(names):
        raise RuntimeError(f"peft put an adapter on {min(other)}, which is not among the targets")
    for _, layer in lora_layers(model):
        for key, held in layer.lora_dropout.items():
            if isinstance(held, nn.Dropout):  # if the rate is 0, peft puts an identity here
                layer.lora_dropout[key] = Dropout(held.p)
    for name, parameter in model.named_parameters():
        trained = ".lora_" in name or name in whole
        parameter.requires_grad_(trained)
        if trained:
            # Rounding to bfloat16 would lose updates smaller than 1/256 of a weight.
            parameter.data = parameter.data.float()
    return names


def peft_config(config: LoraConfig, targets: list[str], **options: Any) -> Any:
    """Build peft's config of the same adapter.

    Args:
        config: our config of the adapter.
        targets: names of the adapted layers, or the ends of their names.
        **options: further fields of peft's config, for example task_type="CAUSAL_LM".
    """
    from peft import LoraConfig as PeftConfig

    alpha: Any = config.numerator
    if config.init_lora_weights is not None:
        options["init_lora_weights"] = config.init_lora_weights
    return PeftConfig(
        r=config.r,
        lora_alpha=alpha,
        lora_dropout=config.dropout,
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
        target_modules=targets,
        bias="none",
        **options,
    )


def lora_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the name and module of every layer that carries LoRA factors."""
    from peft.tuners.lora import LoraLayer

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


@contextmanager
def adapter_off(model: nn.Module) -> Iterator[None]:
    """Run the model without its adapter inside the block."""
    layers = [layer for _, layer in lora_layers(model)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def adapted_weight(layer: Any) -> nn.Parameter:
    """Return the weight that the factors of a layer change.

    Experts keep theirs in a parameter with another name than `weight`.
    """
    weight: nn.Parameter = getattr(
        layer.get_base_layer(), getattr(layer, "parameter_name", "weight")
    )
    return weight


def merge_adapter(model: nn.Module, *, verify: Callable[[], torch.Tensor] | None = None) -> float:
    """Add the adapter to the weights, W + (alpha / r) B A, and remove it, in place.

    Args:
        model: carries an adapter. Its adapted weights are float32, because a bfloat16 sum would
            round most of the update away.
        verify: runs the model on a fixed probe and returns hidden states of any shape. It is called
            before and after the merge, in evaluation mode. If None, nothing is compared.

    Returns:
        The largest absolute difference of the two sets of states, divided by the largest absolute
            state. Without `verify` it is 0.0.

    Raises:
        ValueError: if adapted weights are not float32.
        RuntimeError: if the states differ by more than MERGE_TOLERANCE. The model is then merged
            but wrong, so discard it.
    """
    layers = list(lora_layers(model))
    for name, layer in layers:
        dtype = adapted_weight(layer).dtype
        if dtype != torch.float32:
            raise ValueError(
                f"{name}: merging needs float32 weights, but these are {dtype}; load the model in float32 first"
            )
    training = model.training
    model.eval()
    before = _states(verify)
    for name, layer in layers:
        layer.merge(safe_merge=True)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    fold_rows(model)
    forget_peft(model)
    after = _states(verify)
    model.train(training)
    if before is None or after is None:
        return 0.0
    difference = float(
        (before - after).abs().max() / before.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    )
    if not difference <= MERGE_TOLERANCE:
        raise RuntimeError(
            f"merging changed the hidden states by {difference:.2e} of their size (tolerance {MERGE_TOLERANCE:.0e})"
        )
    return difference


def trainable_counts(model: nn.Module, config: LoraConfig | None = None) -> ParameterCounts:
    """Count the parameters of a model.

    If `config` is None, count them as they are now. Otherwise count them as `attach` would leave
    them.
    """
    total = sum(parameter.numel() for parameter in model.parameters())
    if config is None:
        return ParameterCounts(
            sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
            total,
        )
    added = 0
    for name in target_names(model, config):
        weight: Any = model.get_submodule(name).weight
        added += config.r * (weight.shape[0] + weight.shape[1])
        if config.use_dora:
            added += _outputs(model.get_submodule(name))
    whole = sum(model.get_parameter(name).numel() for name in whole_names(model, config))
    return ParameterCounts(added + whole, total + added)


def meta_model(config: object) -> nn.Module:
    """Build the bare model of a transformers config without weights, for counting and planning."""
    from transformers import AutoModel

    with torch.device("meta"):
        model: nn.Module = AutoModel.from_config(config)
    return model


def adapter_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies on the CPU of the tensors that an adapter trains, by parameter name.

    They are its factors and the parameters trained in full.
    """
    return {name: tensor.detach().cpu().clone() for name, tensor in trained(model).items()}


def load_adapter_state(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Copy the result of `adapter_state` into a model to which the same config has been attached.

    Raises:
        ValueError: if the names differ, that is, if the adapter belongs to another model or config.
    """
    own = trained(model)
    if own.keys() != state.keys():
        raise ValueError(f"adapter of {len(state)} tensors does not fit a model with {len(own)}")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(state[name])


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """Select the trained parameters of a model, by name.

    These are the LoRA factors, and every parameter that requires a gradient.
    """
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if ".lora_" in name or parameter.requires_grad
    }


def forget_peft(model: nn.Module) -> None:
    """Remove peft's attributes, or transformers would save an adapter that was removed."""
    for attribute in ("peft_config", "_hf_peft_config_loaded"):
        if attribute in model.__dict__:
            delattr(model, attribute)


def _states(verify: Callable[[], torch.Tensor] | None) -> torch.Tensor | None:
    if verify is None:
        return None
    with torch.no_grad():
        return verify().detach().float()


def _outputs(layer: Any) -> int:
    """Return the number of outputs of a linear layer. GPT-2's have it in `nf`."""
    return int(layer.out_features if hasattr(layer, "out_features") else layer.nf)


def _cuda_devices(model: nn.Module) -> list[torch.device]:
    return sorted(
        {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"},
        key=str,
    )
