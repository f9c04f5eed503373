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
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import nn

from bothways.backbone.adapter.new_tokens import fold_rows
from bothways.config import Strict
from bothways.dropout import Dropout
from bothways.errors import InputError

log = logging.getLogger("bothways")

#: The hidden states of an adapter and of its merged weights differ by float32 rounding, which grows
#: with depth. A wrong merge (a forgotten scale, a transposed factor) is off by the adapter's whole
#: effect. The tolerance is relative to the largest state.
MERGE_TOLERANCE = 1e-3


class LoraConfig(Strict):
    """A LoRA adapter.

    The defaults are LLM2Vec's: lora_r 16 in train_configs/*, alpha = 2 r and dropout 0.05 in its
    scripts.
    """

    r: int = Field(default=16, ge=1, description="rank")
    alpha: float | None = Field(
        default=None,
        gt=0,
        description="numerator of the scale alpha / r; if absent, twice the rank",
    )
    dropout: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="dropout on the adapter's input, in addition to the model's own",
    )
    targets: Literal["all-linear", "attention"] | tuple[str, ...] = Field(
        default="all-linear",
        description="layers to adapt, by the ends of their names, for example q_proj; all-linear selects every linear layer "
        "of the decoder blocks, attention the linear layers of their attention",
    )
    train_whole: tuple[str, ...] | None = Field(
        default=None,
        description="parameters to train in full next to the factors, by parts of their names; LoRA+ uses embed and norm",
    )

    @property
    def scaling(self) -> float:
        """Return alpha / r, the factor on B A x."""
        return (2 * self.r if self.alpha is None else self.alpha) / self.r


class Counts(NamedTuple):
    """Numbers of parameters."""

    trainable: int
    total: int


def attach(model: nn.Module, config: LoraConfig, *, seed: int = 0) -> list[str]:
    """Freeze `model` and put a fresh float32 LoRA adapter into its decoder blocks, in place.

    The adapter changes nothing until it is trained, because B starts at zero. A is Kaiming-uniform
    and depends on `seed` alone. The parameters of `config.train_whole` stay trainable and become
    float32.

    Args:
        model: a bare decoder (or encoder) of transformers.
        config: rank, scale, dropout and targets.
        seed: seed of A.

    Returns:
        The names of the adapted layers.

    Raises:
        InputError: if no layer matches the targets, if no parameter's name contains a part of
            `train_whole`, or if the model already carries an adapter.
    """
    from peft import inject_adapter_in_model

    if any(True for _ in lora_layers(model)):
        raise InputError("the model already carries a LoRA adapter; merge it before attaching another")
    names = target_names(model, config)
    whole = set(whole_names(model, config))
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=_cuda_devices(model)), warnings.catch_warnings():
        # peft warns that Conv1D layers (GPT-2) need fan_in_fan_out, and then sets it itself.
        warnings.filterwarnings("ignore", message=".*fan_in_fan_out.*")
        torch.manual_seed(seed)
        inject_adapter_in_model(peft_config(config, names), model)
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

    alpha: Any = config.scaling * config.r
    return PeftConfig(
        r=config.r,
        lora_alpha=alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
        bias="none",
        **options,
    )


def whole_names(model: nn.Module, config: LoraConfig) -> list[str]:
    """List the parameters that `config.train_whole` selects.

    You can call it before or after an adapter is attached.

    Raises:
        InputError: if a part of `train_whole` occurs in no name.
    """
    names = [name for name, _ in model.named_parameters() if ".lora_" not in name and ".base_layer." not in name]
    parts = config.train_whole or ()
    for part in parts:
        if not any(part in name for name in names):
            known = sorted({name.removesuffix(".weight").split(".")[-1] for name in names if name.endswith(".weight")})
            raise InputError(f"adapter.train_whole: no parameter's name contains {part!r}; there are {', '.join(known)}")
    return [name for name in names if any(part in name for part in parts)]


def target_names(model: nn.Module, config: LoraConfig) -> list[str]:
    """List the full names of the linear layers in the decoder blocks that `config.targets` selects.

    For Llama, Mistral and Qwen, "all-linear" gives the published seven: q, k, v, o, gate, up, down.

    As in peft, a target is a full name or the end of a name after a dot. So v_proj selects
    layers.0.self_attn.v_proj but not layers.0.self_attn.qkv_proj.

    Raises:
        InputError: if no layer has the name of a target, or if the rank exceeds that of every layer.
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
    """Find the decoder blocks: the name and the module list of each. A model may have several
    lists.

    They are the module lists as long as the model is deep. This leaves out embeddings, heads and
    poolers without a table of families. If no list has that length, all lists count.
    """
    config_of_model: Any = getattr(model, "config", None)
    text_config = config_of_model.get_text_config() if config_of_model is not None else None
    depth = getattr(text_config, "num_hidden_layers", None)
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    blocks = [(name, module) for name, module in lists if len(module) == depth] or lists
    # An expert list inside a block may happen to be as long as the model is deep. Only the
    # outermost list counts.
    return [(name, module) for name, module in blocks if not any(name.startswith(f"{other}.") for other, _ in blocks)]


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


def merge(model: nn.Module, *, verify: Callable[[], torch.Tensor] | None = None) -> float:
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
        dtype = layer.get_base_layer().weight.dtype
        if dtype != torch.float32:
            raise ValueError(f"{name}: merging needs float32 weights, but these are {dtype}; load the model in float32 first")
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
    """Count the parameters of a model.

    If `config` is None, count them as they are now. Otherwise count them as `attach` would leave
    them.
    """
    total = sum(parameter.numel() for parameter in model.parameters())
    if config is None:
        return Counts(
            sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
            total,
        )
    added = 0
    for name in target_names(model, config):
        weight: Any = model.get_submodule(name).weight
        added += config.r * (weight.shape[0] + weight.shape[1])
    whole = sum(model.get_parameter(name).numel() for name in whole_names(model, config))
    return Counts(added + whole, total + added)


def meta_model(config: object) -> nn.Module:
    """Build the bare model of a transformers config without weights, for counting and planning."""
    from transformers import AutoModel

    with torch.device("meta"):
        return AutoModel.from_config(config)


def adapter_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors that an attached adapter trains, by parameter name, detached and on the
    CPU.

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
    return {name: parameter for name, parameter in model.named_parameters() if ".lora_" in name or parameter.requires_grad}


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


def _cuda_devices(model: nn.Module) -> list[torch.device]:
    return sorted(
        {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"},
        key=str,
    )
