"""What the doctor checks: one function per invariant, each (encoder, name, quick) → Check.

References: stock transformers on a padded batch or a single text, the same text alone, and the attention plan itself.
Letters: T tokens of a packed row, N texts, H hidden.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from bothways.attention.direction import direction_of
from bothways.attention.interface import NAME, recording
from bothways.attention.probe import prove_direction
from bothways.attention.run import position_offset
from bothways.attention.stock import INFLUENCE, can_set_implementation, distance, needs_eager, quiet, stock
from bothways.attention.text_config import UNBOUNDED, is_encoder_only, text_configs, windowed_layers
from bothways.encoder.batch import TokenBatch, TokenRow
from bothways.encoder.doctor import Check

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

TEXTS = (
    "The bridge across the river was closed for repairs, so the driver turned back and took the road through the hills.",
    "Return the number of items in the list.",
    "Yes.",
    "She had promised to call on Sunday evening; he waited until midnight, and then he went to bed.",
    "Water boils at a lower temperature in the mountains, because the pressure of the air is lower there.",
    "Open the file, read it line by line, and close it again.",
)
"""Real sentences of unlike length, so that any batch of them needs padding."""

EXACT = 1e-5
"""Largest difference of one number of two unit vectors in float32, by the same kernels: order of additions only."""

ROUNDED = 1e-4
"""The same against other kernels or merged weights: rounding grows through the layers of an untrained direction (9e-6 measured on
SmolLM2-135M, 30 layers); a wrong mask is off by 1e-2 and more."""

COSINE = 0.9999
"""Least cosine of two vectors in half precision."""

HALF_NOISE = 0.05
"""1 - cosine up to which stock code's distance from itself in half precision counts as rounding."""


def claims(encoder: Encoder, name: str, quick: bool) -> Check:
    """The config and every layer's flag say what the encoder says: other loaders read nothing else."""
    config = next(text_configs(encoder.backbone))
    claimed = direction_of(encoder.backbone)
    if claimed != encoder.direction:
        return Check(
            name, False, claimed, f"the config says {claimed}, the encoder {encoder.direction}: other loaders follow the config"
        )
    flags = [m.is_causal for m in encoder.backbone.modules() if isinstance(getattr(m, "is_causal", None), bool)]
    wrong = 0 if is_encoder_only(config) else sum(flag != (encoder.direction == "causal") for flag in flags)
    if wrong:
        figure = f"{wrong} of {len(flags)}"
        return Check(name, False, figure, f"{figure} attention layers carry is_causal={encoder.direction != 'causal'}")
    kept = windowed_layers(config) if encoder.direction == "bidirectional" else {}
    meant = _report(encoder).get("kept_windows")
    if meant is not None and kept and {str(layer): size for layer, size in kept.items()} != meant:
        return Check(
            name,
            False,
            f"{len(kept)} layers",
            f"the config has a sliding window of {min(kept.values())} tokens that was not kept",
        )
    more = f"; a sliding window of {min(kept.values())} tokens is kept in {len(kept)} layers" if kept else ""
    return Check(name, True, claimed, f"config and layers agree with the encoder{more}")


def layers(encoder: Encoder, name: str, quick: bool) -> Check:
    """Which pattern every layer really executed, read from the attention function itself."""
    config = next(text_configs(encoder.backbone))
    batch = _batch(encoder, _rows(encoder)[:3])
    if encoder.execution == "padded":
        used = config._attn_implementation
        if can_set_implementation(encoder.backbone) and used != "eager":
            return Check(name, False, used, f"padded passes need eager attention, and the model runs {used}")
        return Check(
            name, True, used, "runs as a padded batch: its layers draw their own mask, so only the perturbation can tell"
        )
    with quiet(encoder.backbone), recording() as log:
        encoder.states(batch)
    total = max(len(log), config.num_hidden_layers)
    if not log:
        return Check(
            name,
            False,
            f"0 of {total}",
            f"no layer ran the plan: the attention is {config._attn_implementation!r}, not {NAME!r}",
        )
    allowed = set(windowed_layers(config).values()) | {None}
    wrong = [
        f"layer {layer} ran {'a mask of its own' if plan is not batch.plan else f'a sliding window of {window} tokens'}"
        for layer, (plan, window) in enumerate(log)
        if plan is not batch.plan or not (window in allowed or (window is not None and window >= UNBOUNDED))
    ]
    ran = f"{len(log) - len(wrong)} of {total}"
    if wrong or len(log) < config.num_hidden_layers:
        return Check(name, False, ran, wrong[0] if wrong else f"only {len(log)} of {total} layers ran the plan")
    return Check(name, True, ran, f"every layer ran the {batch.plan.direction} plan")


def direction(encoder: Encoder, name: str, quick: bool) -> Check:
    """Every token of a real text reaches every other (or earlier one), none reaches the neighbour in the row."""
    size = 6 if quick else 12
    rows = [_cut(row, size) for row in _rows(encoder)[:2]]
    rows[1] = _cut(rows[1], size // 2)
    batch = _batch(encoder, rows)
    proof = prove_direction(
        encoder.backbone, encoder.execution, encoder.direction, lengths=batch.plan.lengths, ids=batch.input_ids
    )
    pairs = int(proof.plan.dense().sum())
    figure = f"{pairs - len(proof.missing)} of {pairs} pairs"
    if proof.ok:
        what = (
            "every other token of its text"
            if encoder.direction == "bidirectional"
            else "every earlier token of its text and no later one"
        )
        return Check(name, True, figure, f"every token sees {what}, and none of its neighbour")
    seen = layers(encoder, "", quick)
    cause = f": {seen.sentence}" if not seen.passed else ""
    return Check(name, False, f"{figure}, {len(proof.leaks)} leaks", proof.sentence + cause)


def padding_right(encoder: Encoder, name: str, quick: bool) -> Check:
    """A right-padded batch through stock transformers gives our vectors."""
    return _padding(encoder, name, "right")


def padding_left(encoder: Encoder, name: str, quick: bool) -> Check:
    """A left-padded batch through stock transformers, with position ids where the family takes them, gives our vectors."""
    if not _takes_positions(encoder.backbone) and not _relative(encoder):
        return Check(name, True, "–", "the family counts positions from the first column, so no loader may pad it left")
    return _padding(encoder, name, "left")


def batch_of_one(encoder: Encoder, name: str, quick: bool) -> Check:
    """One text without padding through stock transformers: where shortcuts silently restore causality."""
    batch = _batch(encoder, _rows(encoder)[:1])
    implementations = _implementations(encoder)
    worst = Difference(0.0, False)
    with quiet(encoder.backbone):
        ours = encoder(batch)
        allowance = _allowance(encoder, _batch(encoder, _rows(encoder)[:2]))
        for implementation in implementations:
            with stock(encoder.backbone, implementation):
                off = _compare(encoder, encoder.pool(_alone_states(encoder.backbone, batch), batch), ours)
            if off.exceeds(ROUNDED) and not off.value <= allowance:
                return Check(name, False, off.figure, f"one text through stock {implementation} attention gives another vector")
            worst = max(worst, off)
    only = "" if "sdpa" in implementations else " (eager only: tell other loaders)"
    return Check(
        name,
        True,
        worst.figure,
        f"one text gives the same vector through stock {' and '.join(implementations)} attention{only}",
    )


def packing(encoder: Encoder, name: str, quick: bool) -> Check:
    """A text alone has the vector that it has among neighbours."""
    rows = _rows(encoder)
    with quiet(encoder.backbone):
        together = encoder(_batch(encoder, rows))
        alone = torch.cat([encoder(_batch(encoder, [row])) for row in rows])
    off = _compare(encoder, together, alone)
    what = (
        "changes when neighbours are packed beside it" if off.exceeds(EXACT) else "is the same alone and packed with neighbours"
    )
    return Check(name, not off.exceeds(EXACT), off.figure, f"a text's vector {what}")


def order(encoder: Encoder, name: str, quick: bool) -> Check:
    """The order of the texts changes nothing."""
    rows = _rows(encoder)
    with quiet(encoder.backbone):
        forward = encoder(_batch(encoder, rows))
        backward = encoder(_batch(encoder, rows[::-1])).flip(0)
    off = _compare(encoder, backward, forward)
    what = "changes their vectors" if off.exceeds(EXACT) else "changes nothing"
    return Check(name, not off.exceeds(EXACT), off.figure, f"the order of the texts {what}")


def gradient_checkpointing(encoder: Encoder, name: str, quick: bool) -> Check:
    """Vectors and gradients with checkpointing, in training mode with its dropout, equal those without."""
    model: Any = encoder.backbone
    if not getattr(model, "supports_gradient_checkpointing", False):
        return Check(name, True, "–", "the family has no gradient checkpointing")
    batch = _batch(encoder, [_cut(row, 12) for row in _rows(encoder)[:3]])
    # a matrix of the first block: its gradient has passed every layer above
    weight = next(p for n, p in model.named_parameters() if p.ndim == 2 and p.is_floating_point() and "embed" not in n.lower())
    found: list[Tensor] = []
    with _training(model), _differentiable(weight):
        for active in (False, True):
            with _checkpointing(model, active):
                torch.manual_seed(0)
                vectors = encoder(batch).float()
                (gradient,) = torch.autograd.grad(vectors.square().sum(), weight)
                found += [vectors.detach(), gradient.flatten()[None]]
    for what, (without, checkpointed) in (("vectors", (0, 2)), ("gradients", (1, 3))):
        off = _compare(encoder, found[checkpointed], found[without])
        if off.exceeds(EXACT):
            return Check(name, False, off.figure, f"checkpointing changes the {what}")
    return Check(name, True, off.figure, "vectors and gradients are the same with checkpointing")


def training_direction(encoder: Encoder, name: str, quick: bool) -> Check:
    """In training mode, with checkpointing on: the first token sees the last (or not), the neighbour sees neither."""
    model: Any = encoder.backbone
    batch = _batch(encoder, [_cut(row, 8) for row in _rows(encoder)[:2]])
    length = batch.plan.lengths[0]
    other = batch.input_ids.clone()
    other[length - 1] = batch.input_ids[0] if batch.input_ids[0] != batch.input_ids[length - 1] else batch.input_ids[0] + 1
    states = []
    with _training(model), _checkpointing(model, getattr(model, "supports_gradient_checkpointing", False)):
        for ids in (batch.input_ids, other):
            torch.manual_seed(0)  # the same dropout both times
            states.append(encoder.states(TokenBatch(ids, batch.plan, batch.pool, batch.rows)).detach())
    seen = distance(states[1][:1], states[0][:1])
    leak = distance(states[1][length:], states[0][length:])
    figure = f"{seen:.1e} | {leak:.1e}"
    expected = encoder.direction == "bidirectional"
    if (seen > INFLUENCE) != expected:
        return Check(name, False, figure, f"in training mode token 1 {'does not see' if expected else 'sees'} token {length}")
    if leak > INFLUENCE:
        return Check(name, False, figure, "in training mode a token of text 2 sees a token of text 1")
    return Check(name, True, figure, f"in training mode the model is {encoder.direction} too")


def adapters(encoder: Encoder, name: str, quick: bool) -> Check:
    """An adapter gives the same vectors beside the weights and merged into them: the encoder's own, or a random one for the test."""
    from bothways.backbone.adapters import adapter_off, lora_layers

    batch = _batch(encoder, _rows(encoder)[:3])
    own = any(True for _ in lora_layers(encoder.backbone))
    with quiet(encoder.backbone), nullcontext() if own else _random_adapter(encoder.backbone):
        beside = encoder(batch)
        with adapter_off(encoder.backbone):
            plain = encoder(batch)
        with _merged(encoder.backbone):
            merged = encoder(batch)
    effect, off = _compare(encoder, beside, plain), _compare(encoder, merged, beside)
    if not own and effect.value < 1e-6:
        return Check(name, False, effect.figure, "a random adapter changed nothing: it does not reach the layers")
    # half precision rounds the merged weights themselves; a wrong merge is off by the adapter's whole effect
    wrong = off.exceeds(ROUNDED) and not (off.half and off.value < effect.value / 4)
    which = "the encoder's adapter" if own else "a random adapter"
    return Check(name, not wrong, off.figure, f"{which} {'changes' if wrong else 'keeps'} the vectors when it is merged")


# --- what the checks share -------------------------------------------------------------------------------------------------


@contextmanager
def untouched(encoder: Encoder) -> Iterator[None]:
    """Whatever the checks do inside, modes and requires_grad flags of the encoder come back."""
    modes = [(module, module.training) for module in encoder.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in encoder.parameters()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _rows(encoder: Encoder) -> list[TokenRow]:
    return encoder.tokenize(list(TEXTS))


def _cut(row: TokenRow, size: int) -> TokenRow:
    pool = row.pool[:size]
    return TokenRow(row.ids[:size], pool if any(pool) else [True] * len(pool), row.offsets[:size])


def _batch(encoder: Encoder, rows: list[TokenRow]) -> TokenBatch:
    return encoder.pack(rows).to(encoder.device)


class Difference(NamedTuple):
    """How far two sets of vectors are apart: largest difference of unit vectors (float32), or 1 - cosine (half precision)."""

    value: float
    half: bool

    def exceeds(self, limit: float) -> bool:
        """Whether it is more than rounding; `limit` holds for float32, `COSINE` for half precision."""
        return not self.value <= (1 - COSINE if self.half else limit)

    @property
    def figure(self) -> str:
        """For people."""
        return f"cos {1 - self.value:.5f}" if self.half else f"{self.value:.1e}"


def _compare(encoder: Encoder, a: Tensor, b: Tensor) -> Difference:
    one, other = (nn.functional.normalize(x.detach().double().cpu(), dim=-1) for x in (a, b))
    if encoder.dtype in (torch.bfloat16, torch.float16):
        return Difference(float(1 - (one * other).sum(-1).min()), True)
    return Difference(float((one - other).abs().max()), False)


def _padding(encoder: Encoder, name: str, side: str) -> Check:
    """Ours against a padded batch of stock code."""
    batch = _batch(encoder, _rows(encoder))
    worst = Difference(0.0, False)
    with quiet(encoder.backbone):
        ours = encoder(batch)
        allowance = _allowance(encoder, batch)
        for implementation in _implementations(encoder):
            with stock(encoder.backbone, implementation):
                off = _compare(encoder, encoder.pool(_padded_states(encoder.backbone, batch, side), batch), ours)
            if off.exceeds(ROUNDED) and not off.value <= allowance:
                return Check(
                    name,
                    False,
                    off.figure,
                    f"a batch padded {side} through stock {implementation} attention gives other vectors",
                )
            worst = max(worst, off)
    as_close = ", as closely as its own kernels agree" if worst.exceeds(ROUNDED) else ""
    return Check(name, True, worst.figure, f"a batch padded {side} through stock transformers gives the same vectors{as_close}")


def _allowance(encoder: Encoder, batch: TokenBatch) -> float:
    """How far vectors may be from stock code in half precision, as 1 - cosine; 0 in float32.

    Stock code is apart from itself there (eager and SDPA: cosine 0.996 for one text, SmolLM2-135M untrained for this direction,
    and both are that far from float32). Kernel error is judged against that of the plain model: at most 1.25 times. The variants
    measured all draw their masks, so that no shortcut can hide in the noise.
    """
    if encoder.dtype not in (torch.bfloat16, torch.float16):
        return 0.0
    found: list[Tensor] = []
    for implementation in _implementations(encoder):
        with stock(encoder.backbone, implementation):
            found.append(encoder.pool(_padded_states(encoder.backbone, batch, "right"), batch))
            if implementation == "eager":
                found.append(encoder.pool(_alone_states(encoder.backbone, batch), batch))
    noise = max(_compare(encoder, a, b).value for a in found for b in found)
    return 1.25 * noise + 1 - COSINE if noise < HALF_NOISE else 0.0


def _alone_states(model: nn.Module, batch: TokenBatch) -> Tensor:
    texts = batch.input_ids.split(batch.plan.lengths)
    return torch.cat([model(input_ids=text[None], use_cache=False).last_hidden_state[0] for text in texts])


def _padded_states(model: nn.Module, batch: TokenBatch, side: str) -> Tensor:
    texts = batch.input_ids.split(batch.plan.lengths)
    width = batch.plan.longest
    ids = torch.full((len(texts), width), int(batch.input_ids[0]), device=batch.input_ids.device)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        place = slice(0, len(text)) if side == "right" else slice(width - len(text), width)
        ids[row, place], mask[row, place] = text, 1
    extra = {}
    if _takes_positions(model):
        extra["position_ids"] = (mask.cumsum(-1) - 1).clamp_min(0) + position_offset(model)
    return model(input_ids=ids, attention_mask=mask, use_cache=False, **extra).last_hidden_state[mask.bool()]


def _takes_positions(model: nn.Module) -> bool:
    return "position_ids" in inspect.signature(model.forward).parameters


def _relative(encoder: Encoder) -> bool:
    """Whether positions come from the mask or do not matter: measured by shifting one text behind a column of padding."""
    batch = _batch(encoder, _rows(encoder)[:2])
    with quiet(encoder.backbone), stock(encoder.backbone, "eager"):
        return (
            distance(_padded_states(encoder.backbone, batch, "left"), _padded_states(encoder.backbone, batch, "right")) < 1e-2
        )


def _report(encoder: Encoder) -> dict[str, Any]:
    """What the switch of direction reported when the encoder was made."""
    found = encoder.provenance.get("report")
    return found if isinstance(found, dict) else {}


def _implementations(encoder: Encoder) -> list[str]:
    """Stock attention implementations that a loader of the saved folder would use."""
    model = encoder.backbone
    if not can_set_implementation(model):
        return [next(text_configs(model))._attn_implementation]
    if _report(encoder).get("needs_eager") and needs_eager(model):  # said so on disk, and true
        return ["eager"]
    runnable = []
    ids = _batch(encoder, _rows(encoder)[1:2]).input_ids[None]
    for implementation in ("eager", "sdpa"):
        try:
            with stock(model, implementation):
                model(input_ids=ids, use_cache=False)
        except Exception:  # families without this implementation stop loudly; loaders then choose the other one
            continue
        runnable.append(implementation)
    return runnable


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.train()
    try:
        with torch.enable_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _differentiable(weight: nn.Parameter) -> Iterator[None]:
    before = weight.requires_grad
    weight.requires_grad_(True)
    try:
        yield
    finally:
        weight.requires_grad_(before)


@contextmanager
def _checkpointing(model: Any, active: bool) -> Iterator[None]:
    """Gradient checkpointing on or off inside; per-module switches come back."""
    switches = [
        (m, m.gradient_checkpointing) for m in model.modules() if isinstance(getattr(m, "gradient_checkpointing", None), bool)
    ]
    functions = [(m, vars(m).get("_gradient_checkpointing_func")) for m, _ in switches]
    if active:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    else:
        for module, _ in switches:
            module.gradient_checkpointing = False
    try:
        yield
    finally:
        for module, before in switches:
            module.gradient_checkpointing = before
        for module, function in functions:
            if function is not None:
                module._gradient_checkpointing_func = function


@contextmanager
def _random_adapter(model: Any) -> Iterator[None]:
    """A random LoRA on the first block's linear layers inside; afterwards the very same modules as before."""
    from peft import LoraConfig, inject_adapter_in_model

    from bothways.backbone.adapters import LoraConfig as Settings
    from bothways.backbone.adapters import target_names

    names = target_names(model, Settings())[:8]
    modules = {name: model.get_submodule(name) for name in names}
    attributes = set(vars(model))
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    torch.manual_seed(0)
    settings: Callable[..., Any] = LoraConfig
    inject_adapter_in_model(settings(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=names, init_lora_weights=False), model)
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
def _merged(model: nn.Module) -> Iterator[None]:
    """The adapter merged into its weights inside; afterwards the same bits as before, which subtracting would not give."""
    from bothways.backbone.adapters import lora_layers

    found: list[tuple[Any, Tensor]] = []
    for _, layer in lora_layers(model):
        module: Any = layer
        found.append((module, module.get_base_layer().weight.detach().clone()))
        module.merge()
    try:
        yield
    finally:
        for module, weight in found:
            module.unmerge()
            module.get_base_layer().weight.data.copy_(weight)
