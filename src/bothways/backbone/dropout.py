"""Sets the dropout rates of a backbone that is already built, in the places its forward pass reads.

Decoders are published with dropout 0, and SimCSE needs noise: two passes over a text must differ
(arXiv 2104.08821). LLM2Vec passes `attention_dropout` to `from_pretrained`. Here the model already
exists, and families keep the rate in different places: a float attribute of the attention module
(Llama), an nn.Dropout inside it (GPT-2, BERT), or the config, read during the forward pass
(Falcon). All three are set. Only some families have residual ("hidden") dropout. For the others,
forward hooks add it to the outputs of the attention and feed-forward sub-blocks, the two branches
on which GPT-2 and BERT have theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from bothways.dropout import dropout
from bothways.errors import InputError, SourceError

Undo = list[Callable[[], None]]

# Attributes in which transformers' families hold a rate: of the attention module itself, and of any
# other module.
ATTENTION_NAMES = ("attention_dropout", "attn_dropout", "attn_dropout_p")
HIDDEN_NAMES = (
    "hidden_dropout",
    "resid_dropout",
    "resid_attn_dropout",
    "resid_mlp_dropout",
    "residual_dropout",
    "post_attention_dropout",
    "post_mlp_dropout",
    "output_dropout",
    "out_drop",
)
ATTENTION_KEYS = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")
HIDDEN_KEYS = (
    "hidden_dropout_prob",
    "hidden_dropout",
    "resid_pdrop",
    "resid_dropout",
    "residual_dropout",
    "dropout",
)
FEED_FORWARD_NAMES = ("mlp", "feed_forward", "ffn", "block_sparse_moe", "moe", "shared_mlp")


@dataclass
class DropoutReport:
    """The places that `set_dropout` changed: paths of attributes, and of blocks with a hook.

    `restore()` puts every rate and config entry back, so that a training rate does not get into a
    saved config.
    """

    attention: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    undo: Undo = field(default_factory=list, repr=False)

    def restore(self) -> None:
        """Undo this call, latest change first. A second call does nothing."""
        while self.undo:
            self.undo.pop()()


class ResidualDropout:
    """A forward hook that applies dropout to a sub-block's output in training mode.

    If the sub-block returns several outputs, it applies to the first.
    """

    def __init__(self, p: float) -> None:
        self.p = p

    def __call__(
        self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor | tuple[Any, ...]
    ) -> Tensor | tuple[Any, ...]:
        """Return `output` with dropout applied to its hidden states."""
        if isinstance(output, tuple):
            return (self._thin(output[0], module), *output[1:])
        return self._thin(output, module)

    def _thin(self, states: Tensor, module: nn.Module) -> Tensor:
        return dropout(states, self.p) if module.training else states


def set_dropout(
    model: nn.Module, *, attention: float | None = None, hidden: float | None = None
) -> DropoutReport:
    """Set the dropout rates of a backbone. They act only in training mode.

    Args:
        model: a transformers backbone, bare or wrapped by peft. LoRA's own dropout is not changed,
            because it belongs to the adapter.
        attention: probability in [0, 1) of dropping an attention weight. If None, keep the
            family's.
        hidden: the same for the hidden states that the sub-blocks add to the residual stream, and
            for every other place of the family's own hidden rate (BERT's embeddings). If None, keep
            the family's.

    Returns:
        The places that were set.

    Raises:
        InputError: if a rate is outside [0, 1), or if a positive rate is given and the family has
            no place for it.
    """
    for name, p in (("attention_dropout", attention), ("hidden_dropout", hidden)):
        if p is not None and not 0 <= p < 1:
            raise InputError(f"{name}: must be at least 0 and below 1 (got {p!r})")
    report = DropoutReport()
    try:
        if attention is not None:
            report.attention = _set_attention(model, attention, report.undo)
        if hidden is not None:
            report.hidden = _set_hidden(model, hidden, report.undo)
    except InputError:
        report.restore()
        raise
    return report


def refuse_wrong_rates(name: str, config: Any) -> None:
    """Raise SourceError if a model's config has a rate of dropout outside [0, 1).

    transformers reads these numbers as they are, and a family that computes its own dropout fails
    in the first step of training.

    Args:
        name: the model's name as the user gave it. The message starts with it.
        config: the model's config.
    """
    values = config.get_text_config(decoder=True).to_dict()
    for key in (*ATTENTION_KEYS, *HIDDEN_KEYS):
        rate = values.get(key)
        if isinstance(rate, (int, float)) and not 0 <= rate < 1:
            raise SourceError(
                f"{name}: {key} in config.json is {rate!r}; a rate of dropout is at least 0 and below 1, for example 0.0"
            )


def _set_attention(model: nn.Module, p: float, undo: Undo) -> tuple[str, ...]:
    sites = [site for site in _sites(model) if site.attention]
    if not sites and p > 0:
        raise InputError(
            f"attention_dropout: {_family(model)} has no attention dropout; use hidden_dropout or LoRA dropout"
        )
    _set_configs(model, ATTENTION_KEYS, p, undo)
    return tuple(site.set(p, undo) for site in sites)


def _set_hidden(model: nn.Module, p: float, undo: Undo) -> tuple[str, ...]:
    sites = [site for site in _sites(model) if not site.attention]
    if not sites:
        return _hook(model, p, undo)
    _set_configs(model, HIDDEN_KEYS, p, undo)
    return tuple(site.set(p, undo) for site in sites)


def active_dropout(model: nn.Module) -> tuple[str, ...]:
    """List the paths at which a positive dropout rate is in force, adapters included.

    If the list is empty, two passes over a text must be equal.
    """
    paths = [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.Dropout) and module.p > 0
    ]
    paths += [site.path for site in _sites(model) if site.rate > 0]
    paths += [
        path for path, module in model.named_modules() for hook in _own_hooks(module) if hook.p > 0
    ]
    return tuple(dict.fromkeys(paths))


@dataclass
class _Site:
    """One rate: attribute `name` of `owner`, which is a float or an nn.Dropout."""

    owner: nn.Module
    name: str
    path: str
    attention: bool

    @property
    def rate(self) -> float:
        held = getattr(self.owner, self.name)
        return held.p if isinstance(held, nn.Dropout) else float(held)

    def set(self, p: float, undo: Undo) -> str:
        held = getattr(self.owner, self.name)
        if isinstance(held, nn.Dropout):
            _assign(held, "p", p, undo)
        else:
            _assign(self.owner, self.name, p, undo)
        return self.path


def _sites(model: nn.Module) -> Iterator[_Site]:
    for path, module in model.named_modules():
        # BertAttention and MPNetAttention wrap the module that holds the probabilities. Their own
        # rate is a hidden one.
        innermost = _is_attention(module) and not any(
            _is_attention(child) for child in _below(module)
        )
        names = dict.fromkeys((*HIDDEN_NAMES, "dropout"), False)
        if innermost and not _is_deaf(module):
            names |= dict.fromkeys((*ATTENTION_NAMES, "dropout"), True)
        if "MLP" in type(module).__name__:
            names["drop"] = False  # ModernBERT; in other families `drop` is embedding dropout
        for name, attention in names.items():
            held = getattr(module, name, None)
            if isinstance(held, nn.Dropout) or (
                isinstance(held, (int, float)) and not isinstance(held, bool)
            ):
                yield _Site(module, name, f"{path}.{name}".lstrip("."), attention)


def _is_attention(module: nn.Module) -> bool:
    name = type(module).__name__
    return "Attention" in name or name.endswith("MLA")


def _is_deaf(module: nn.Module) -> bool:
    """Tell if a family holds an attention rate but never applies it.

    DiffLlama refuses one. Falcon drops weights only with ALiBi.
    """
    name = type(module).__name__
    falcon = name.startswith("Falcon") and not getattr(
        getattr(module, "config", None), "alibi", True
    )
    return falcon or name.startswith("DiffLlama")


def _below(module: nn.Module) -> Iterator[nn.Module]:
    modules = module.modules()
    next(modules)
    return modules


def _set_configs(model: nn.Module, keys: tuple[str, ...], p: float, undo: Undo) -> None:
    """Set the rate in the configs, because some families (Falcon) read it in the forward pass."""
    configs = {
        id(module.config): module.config for module in model.modules() if hasattr(module, "config")
    }
    for config in configs.values():
        for key in keys:
            if isinstance(getattr(config, key, None), (int, float)):
                _assign(config, key, p, undo)


def _hook(model: nn.Module, p: float, undo: Undo) -> tuple[str, ...]:
    own = [(path, hook) for path, module in model.named_modules() for hook in _own_hooks(module)]
    for _, hook in own:
        _assign(hook, "p", p, undo)
    if own or p == 0:
        return tuple(path for path, _ in own)
    blocks = list(_sub_blocks(model))
    if len({_is_attention(block) for _, block in blocks}) < 2:
        raise InputError(
            f"hidden_dropout: {_family(model)} has none of its own, and no layer with an attention and a feed-forward "
            "sub-block to add it to; use attention_dropout or LoRA dropout"
        )
    for _, block in blocks:
        undo.append(block.register_forward_hook(ResidualDropout(p)).remove)
    return tuple(path for path, _ in blocks)


def _sub_blocks(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the attention and feed-forward modules of each layer, with their paths."""
    for path, layer in model.named_modules():
        if _is_attention(layer) or not any(_is_attention(child) for child in layer.children()):
            continue
        for name, child in layer.named_children():
            if _is_attention(child) or name in FEED_FORWARD_NAMES:
                yield f"{path}.{name}".lstrip("."), child


def _own_hooks(module: nn.Module) -> list[ResidualDropout]:
    return [hook for hook in module._forward_hooks.values() if isinstance(hook, ResidualDropout)]


def _assign(holder: object, name: str, value: float, undo: Undo) -> None:
    before = getattr(holder, name)
    setattr(holder, name, value)
    undo.append(lambda: setattr(holder, name, before))


def _family(model: nn.Module) -> str:
    """Name the class of the backbone inside a peft wrapper, for messages."""
    unwrap = getattr(model, "get_base_model", None)
    return type(unwrap() if callable(unwrap) else model).__name__
