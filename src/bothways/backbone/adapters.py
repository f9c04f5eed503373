"""LoRA on the bare decoder, through peft: attach, merge with a proof, and parameter counts without weights.

It stands apart because three callers need the same facts: the trainer (attach, merge), the loader of published LLM2Vec folders
(an adapter on disk), and the dry run (counts on the meta device).

Paper: LoRA, https://arxiv.org/abs/2106.09685. LLM2Vec (https://arxiv.org/abs/2404.05961) puts it on every linear layer of the
decoder blocks with alpha = 2 r and dropout 0.05; embeddings, norms and the language-model head stay frozen. LoRA+ of LongLoRA
(https://arxiv.org/abs/2309.12307) is LoRA on attention with embeddings and norms trained whole beside it (`train_whole`).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import nn

from bothways.backbone.new_tokens import fold_rows
from bothways.config import Strict
from bothways.dropout import Dropout
from bothways.errors import InputError

log = logging.getLogger("bothways")

#: Hidden states of an adapter and of its merged weights differ by float32 rounding, which grows with depth; a wrong merge
#: (a forgotten scale, a transposed factor) is off by the adapter's whole effect. Relative to the largest state.
MERGE_TOLERANCE = 1e-3


class LoraConfig(Strict):
    """A LoRA adapter. Defaults are LLM2Vec's (train_configs/*, lora_r 16; alpha = 2 r and dropout 0.05 in its scripts)."""

    r: int = Field(default=16, ge=1, description="rank")
    alpha: float | None = Field(default=None, gt=0, description="scale numerator; twice the rank when absent")
    dropout: float = Field(default=0.05, ge=0, lt=1, description="dropout on the adapter's input, apart from the model's own")
    targets: Literal["all-linear", "attention"] | tuple[str, ...] = Field(
        default="all-linear",
        description="module name endings; all-linear: every linear layer of the decoder blocks; attention: those of their attention",
    )
    train_whole: tuple[str, ...] | None = Field(
        default=None, description="parameters trained whole beside the factors, by parts of their names; LoRA+: embed and norm"
    )

    @property
    def scaling(self) -> float:
        """alpha / r, the factor on B A x."""
        return (2 * self.r if self.alpha is None else self.alpha) / self.r


class Counts(NamedTuple):
    """Numbers of parameters."""

    trainable: int
    total: int


def attach(model: nn.Module, config: LoraConfig, *, seed: int = 0) -> list[str]:
    """Freeze `model` and put a fresh float32 LoRA adapter into its decoder blocks, in place.

    The adapter changes nothing until it is trained: B starts at zero; A is Kaiming-uniform, a function of `seed` alone. Parameters of
    `config.train_whole` stay trainable and become float32.

    Args:
        model: a bare decoder (or encoder) of transformers.
        config: rank, scale, dropout and targets.
        seed: of A.

    Returns:
        The names of the adapted layers.

    Raises:
        InputError: no layer matches the targets, no parameter a part of `train_whole`, or the model already carries an adapter.
    """
    from peft import inject_adapter_in_model

    if any(True for _ in lora_layers(model)):
        raise InputError("the model already carries a LoRA adapter; merge it before attaching another")
    names = target_names(model, config)
    whole = set(whole_names(model, config))
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=_cuda_devices(model)), warnings.catch_warnings():
        # peft remarks that Conv1D layers (GPT-2) need fan_in_fan_out and sets it itself
        warnings.filterwarnings("ignore", message=".*fan_in_fan_out.*")
        torch.manual_seed(seed)
        inject_adapter_in_model(peft_config(config, names), model)
    for _, layer in lora_layers(model):
        for key, held in layer.lora_dropout.items():
            if isinstance(held, nn.Dropout):  # peft leaves an identity where the rate is 0
                layer.lora_dropout[key] = Dropout(held.p)
    for name, parameter in model.named_parameters():
        trained = ".lora_" in name or name in whole
        parameter.requires_grad_(trained)
        if trained:
            # rounding to bfloat16 would swallow updates smaller than 1/256 of a weight
            parameter.data = parameter.data.float()
    return names


def peft_config(config: LoraConfig, targets: list[str], **options: Any) -> Any:
    """The same adapter as peft's config.

    Args:
        config: ours.
        targets: names or endings of the adapted layers.
        **options: further fields of peft's.
    """
    from peft import LoraConfig as PeftConfig

    alpha: Any = config.scaling * config.r
    return PeftConfig(r=config.r, lora_alpha=alpha, lora_dropout=config.dropout, target_modules=targets, bias="none", **options)


def whole_names(model: nn.Module, config: LoraConfig) -> list[str]:
    """Names of the parameters that `config.train_whole` selects, before or after an adapter is attached.

    Raises:
        InputError: a part that occurs in no name.
    """
    names = [name for name, _ in model.named_parameters() if ".lora_" not in name and ".base_layer." not in name]
    parts = config.train_whole or ()
    for part in parts:
        if not any(part in name for name in names):
            known = sorted({name.removesuffix(".weight").split(".")[-1] for name in names if name.endswith(".weight")})
            raise InputError(f"adapter.train_whole: no parameter's name contains {part!r}; there are {', '.join(known)}")
    return [name for name in names if any(part in name for part in parts)]


def target_names(model: nn.Module, config: LoraConfig) -> list[str]:
    """Full names of the linear layers of the decoder blocks that `config.targets` selects.

    For Llama, Mistral and Qwen the result is the published seven: q, k, v, o, gate, up, down.

    A target is a name or its end from a dot on, as peft matches it: v_proj is not qkv_proj.

    Raises:
        InputError: a target that no layer has.
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
        chosen = {target: [name for name in linear if f".{name}".endswith(f".{target}")] for target in config.targets}
    missing = [target for target, found in chosen.items() if not found]
    if missing or not chosen:
        known = ", ".join(sorted({name.split(".")[-1] for name in linear})) or "none"
        raise InputError(
            f"adapter.targets: no linear layer of the decoder blocks is named {missing[0] if missing else ()!r}; there are {known}"
        )
    picked = {name for found in chosen.values() for name in found}
    return [name for name in linear if name in picked]


def _in_attention(model: nn.Module, name: str) -> bool:
    """Whether a layer lies inside a module that its family calls attention."""
    parts = name.split(".")
    holders = (model.get_submodule(".".join(parts[:end])) for end in range(1, len(parts)))
    return any("attention" in type(holder).__name__.lower() for holder in holders)


def decoder_blocks(model: nn.Module) -> list[tuple[str, nn.ModuleList]]:
    """Name and list of the decoder blocks; a model may have several lists.

    They are the module lists as long as the model is deep, so that embeddings, heads and poolers stay out without a table of families.
    """
    config_of_model: Any = getattr(model, "config", None)
    text_config = config_of_model.get_text_config() if config_of_model is not None else None
    depth = getattr(text_config, "num_hidden_layers", None)
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    blocks = [(name, module) for name, module in lists if len(module) == depth] or lists
    # an expert list inside a block may happen to be as long as the model is deep: the outermost list wins
    return [(name, module) for name, module in blocks if not any(name.startswith(f"{other}.") for other, _ in blocks)]


def lora_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Name and module of every layer that carries LoRA factors."""
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


def merge(model: nn.Module, *, verify: Callable[[], torch.Tensor] | None = None) -> float:
    """Add the adapter to the weights, W + (alpha / r) B A, and remove it, in place.

    Args:
        model: carries an adapter; its adapted weights are float32, since a bfloat16 sum would round most of the update away.
        verify: runs the model on a fixed probe and returns hidden states of any shape; called before and after, in eval mode.

    Returns:
        Largest |difference| of the two sets of states, divided by the largest |state|; 0.0 without `verify`.

    Raises:
        ValueError: adapted weights are not float32.
        RuntimeError: the states differ by more than MERGE_TOLERANCE. The model is then merged, and wrong: discard it.
    """
    layers = list(lora_layers(model))
    for name, layer in layers:
        dtype = layer.get_base_layer().weight.dtype
        if dtype != torch.float32:
            raise ValueError(f"{name}: merging needs float32 weights, these are {dtype}; load the model in float32 first")
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
    difference = float((before - after).abs().max() / before.abs().max().clamp_min(torch.finfo(torch.float32).tiny))
    if not difference <= MERGE_TOLERANCE:
        raise RuntimeError(
            f"merging changed the hidden states by {difference:.2e} of their size (tolerance {MERGE_TOLERANCE:.0e})"
        )
    return difference


def trainable_counts(model: nn.Module, config: LoraConfig | None = None) -> Counts:
    """Count parameters of a model as it stands or, with a config, as `attach` would leave it."""
    total = sum(parameter.numel() for parameter in model.parameters())
    if config is None:
        return Counts(sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad), total)
    added = 0
    for name in target_names(model, config):
        weight: Any = model.get_submodule(name).weight
        added += config.r * (weight.shape[0] + weight.shape[1])
    whole = sum(model.get_parameter(name).numel() for name in whole_names(model, config))
    return Counts(added + whole, total + added)


def meta_model(config: object) -> nn.Module:
    """The bare model of a transformers config without memory for its weights, to count and to plan with."""
    from transformers import AutoModel

    with torch.device("meta"):
        return AutoModel.from_config(config)


def adapter_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """What an attached adapter trains, by parameter name, detached, on the CPU: its factors, and parameters trained whole."""
    return {name: tensor.detach().cpu().clone() for name, tensor in trained(model).items()}


def load_adapter_state(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Put what `adapter_state` gave into a model to which the same config has been attached.

    Raises:
        ValueError: names differ, so the adapter belongs to another model or config.
    """
    own = trained(model)
    if own.keys() != state.keys():
        raise ValueError(f"adapter of {len(state)} tensors does not fit a model with {len(own)}")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(state[name])


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """What a model with an adapter trains, or one without that is not frozen, by parameter name."""
    return {name: parameter for name, parameter in model.named_parameters() if ".lora_" in name or parameter.requires_grad}


def forget_peft(model: nn.Module) -> None:
    """Remove what peft leaves on the model; transformers would otherwise save an adapter that is no longer there."""
    for attribute in ("peft_config", "_hf_peft_config_loaded"):
        if attribute in model.__dict__:
            delattr(model, attribute)


def _states(verify: Callable[[], torch.Tensor] | None) -> torch.Tensor | None:
    if verify is None:
        return None
    with torch.no_grad():
        return verify().detach().float()


def _cuda_devices(model: nn.Module) -> list[torch.device]:
    return sorted({parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}, key=str)
