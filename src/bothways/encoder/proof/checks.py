"""The doctor's checks: one function per invariant, each (encoder, name, quick) → Check.

References are stock transformers on a padded batch or a single text, the same text alone, and the
attention plan itself.

Letters: T tokens of a packed row, N texts, H hidden.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointError

from bothways.attention.direction import direction_of
from bothways.attention.interface import NAME, recording
from bothways.attention.probe import prove_direction
from bothways.attention.stock import INFLUENCE, can_set_implementation, distance, quiet, stock
from bothways.attention.text_config import UNBOUNDED, is_encoder_only, text_configs, windowed_layers
from bothways.encoder.batch import TokenBatch, TokenRow
from bothways.encoder.proof.check import Check
from bothways.encoder.proof.comparison import (
    EXACT,
    ROUNDED,
    Difference,
    allowance,
    alone_states,
    compare,
    implementations,
    is_relative,
    padded_states,
    report,
    takes_positions,
)
from bothways.encoder.proof.temporary_state import checkpointing, differentiable, merged, random_adapter, training

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
"""Real sentences of different lengths, so that any batch of them needs padding."""


def claims(encoder: Encoder, name: str, quick: bool) -> Check:
    """Check that the config and every layer's flag agree with the encoder.

    Other loaders read nothing else.
    """
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
    meant = report(encoder).get("kept_windows")
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
    """Check which pattern every layer executed, as recorded by the attention function itself."""
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
    """Check that every token of a real text reaches every other (or every earlier) one.

    No token may reach the next text of the row.
    """
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
        reached = (
            "every other token of its text"
            if encoder.direction == "bidirectional"
            else "every earlier token of its text and no later one"
        )
        return Check(name, True, figure, f"every token sees {reached}, and no token of the next text")
    seen = layers(encoder, "", quick)
    cause = f": {seen.sentence}" if not seen.passed else ""
    return Check(name, False, f"{figure}, {len(proof.leaks)} leaks", proof.sentence + cause)


def padding_right(encoder: Encoder, name: str, quick: bool) -> Check:
    """Check that a right-padded batch through stock transformers gives our vectors."""
    return _padding(encoder, name, "right", quick)


def padding_left(encoder: Encoder, name: str, quick: bool) -> Check:
    """Check that a left-padded batch through stock transformers gives our vectors.

    Position ids are passed if the family takes them.
    """
    if not takes_positions(encoder.backbone) and not is_relative(encoder, _batch(encoder, _rows(encoder)[:2])):
        return Check(name, True, "–", "the family counts positions from the first column, so no loader may pad it left")
    return _padding(encoder, name, "left", quick)


def batch_of_one(encoder: Encoder, name: str, quick: bool) -> Check:
    """Check that one text without padding through stock transformers gives our vectors.

    Shortcuts for such texts silently restore causality.
    """
    rows = _rows(encoder, quick)
    batch = _batch(encoder, rows[:1])
    kinds = implementations(encoder)
    worst = Difference(0.0, False)
    far = _farthest(encoder, len(batch.input_ids))
    other = _changed(batch.input_ids, far)
    with quiet(encoder.backbone):
        ours = encoder(batch)
        allowed = allowance(encoder, _batch(encoder, rows))
        for implementation in kinds:
            with stock(encoder.backbone, implementation):
                states = alone_states(encoder.backbone, batch, encoder.reads)
                moved = alone_states(encoder.backbone, TokenBatch(other, batch.plan, batch.pool, 1), encoder.reads)
            ahead = distance(moved[:1], states[:1]) > INFLUENCE
            if ahead != (encoder.direction == "bidirectional"):
                what = "sees" if ahead else "does not see"
                return Check(
                    name, False, implementation, f"through stock {implementation} attention token 1 {what} token {len(other)}"
                )
            off = compare(encoder, encoder.pool(states, batch), ours)
            if off.exceeds(ROUNDED) and not off.value <= allowed:
                return Check(name, False, off.figure, f"one text through stock {implementation} attention gives another vector")
            worst = max(worst, off)
    only = "" if "sdpa" in kinds else " (eager only, so set it in other loaders)"
    return Check(
        name, True, worst.figure, f"one text gives the same vector through stock {' and '.join(kinds)} attention{only}"
    )


def packing(encoder: Encoder, name: str, quick: bool) -> Check:
    """Check that a text alone has the same vector as among other texts.

    Half precision gets the same `allowance` as padding: matrix products of other sizes round
    otherwise, most of all on a CPU with AMX.
    """
    rows = _rows(encoder, quick)
    with quiet(encoder.backbone):
        batch = _batch(encoder, rows)
        together = encoder(batch)
        alone = torch.cat([encoder(_batch(encoder, [row])) for row in rows])
        off = compare(encoder, together, alone)
        right = not off.exceeds(EXACT) or off.value <= allowance(encoder, batch)
    what = "is the same alone and packed with other texts" if right else "changes when other texts are packed with it"
    as_close = ", as closely as its own kernels agree" if right and off.exceeds(EXACT) else ""
    return Check(name, right, off.figure, f"a text's vector {what}{as_close}")


def order(encoder: Encoder, name: str, quick: bool) -> Check:
    """Check that the order of the texts changes nothing."""
    rows = _rows(encoder, quick)
    with quiet(encoder.backbone):
        forward = encoder(_batch(encoder, rows))
        backward = encoder(_batch(encoder, rows[::-1])).flip(0)
    off = compare(encoder, backward, forward)
    what = "changes their vectors" if off.exceeds(EXACT) else "changes nothing"
    return Check(name, not off.exceeds(EXACT), off.figure, f"the order of the texts {what}")


def gradient_checkpointing(encoder: Encoder, name: str, quick: bool) -> Check:
    """Check that checkpointing changes neither vectors nor gradients.

    It runs in training mode with dropout.
    """
    model: Any = encoder.backbone
    if not getattr(model, "supports_gradient_checkpointing", False):
        return Check(name, True, "–", "the family has no gradient checkpointing")
    batch = _batch(encoder, [_cut(row, 12) for row in _rows(encoder)[:3]])
    # a matrix of the first block, whose gradient has passed every layer above
    weight = next(p for n, p in model.named_parameters() if p.ndim == 2 and p.is_floating_point() and "embed" not in n.lower())
    found: list[Tensor] = []
    with training(model), differentiable(weight):
        for active in (False, True):
            with checkpointing(model, active):
                torch.manual_seed(0)
                vectors = encoder(batch).float()
                try:
                    (gradient,) = torch.autograd.grad(vectors.square().sum(), weight)
                except CheckpointError:
                    return Check(
                        name, False, "error", "the backward pass recomputes the layers differently: it has lost the plan"
                    )
                found += [vectors.detach(), gradient.flatten()[None]]
    for what, (without, checkpointed) in (("vectors", (0, 2)), ("gradients", (1, 3))):
        off = compare(encoder, found[checkpointed], found[without])
        if off.exceeds(EXACT):
            return Check(name, False, off.figure, f"checkpointing changes the {what}")
    return Check(name, True, off.figure, "vectors and gradients are the same with checkpointing")


def training_direction(encoder: Encoder, name: str, quick: bool) -> Check:
    """Check the direction in training mode, with checkpointing on.

    The first token must see the last one (or not, if causal), and the next text must see neither.
    """
    model: Any = encoder.backbone
    batch = _batch(encoder, [_cut(row, 8) for row in _rows(encoder)[:2]])
    length = batch.plan.lengths[0]
    far = _farthest(encoder, length)
    other = _changed(batch.input_ids, far)
    states = []
    with training(model), checkpointing(model, getattr(model, "supports_gradient_checkpointing", False)):
        for ids in (batch.input_ids, other):
            torch.manual_seed(0)  # the same dropout both times
            states.append(encoder.states(TokenBatch(ids, batch.plan, batch.pool, batch.rows)).detach())
    seen = distance(states[1][:1], states[0][:1])
    leak = distance(states[1][length:], states[0][length:])
    figure = f"{seen:.1e} | {leak:.1e}"
    expected = encoder.direction == "bidirectional"
    if (seen > INFLUENCE) != expected:
        return Check(name, False, figure, f"in training mode token 1 {'does not see' if expected else 'sees'} token {far + 1}")
    if leak > INFLUENCE:
        return Check(name, False, figure, "in training mode a token of text 2 sees a token of text 1")
    return Check(name, True, figure, f"in training mode the model is {encoder.direction} too")


def adapters(encoder: Encoder, name: str, quick: bool) -> Check:
    """Check that an adapter gives the same vectors separately and merged into the weights.

    It is the encoder's own adapter, or a random one if it has none.
    """
    from bothways.backbone.adapter.lora import adapter_off, lora_layers

    batch = _batch(encoder, _rows(encoder)[:3])
    own = any(True for _ in lora_layers(encoder.backbone))
    with quiet(encoder.backbone), nullcontext() if own else random_adapter(encoder.backbone):
        beside = encoder(batch)
        with adapter_off(encoder.backbone):
            plain = encoder(batch)
        with merged(encoder.backbone):
            inside = encoder(batch)
    effect, off = compare(encoder, beside, plain), compare(encoder, inside, beside)
    if not own and effect.value < 1e-6:
        return Check(name, False, effect.figure, "a random adapter changed nothing: it does not reach the layers")
    # Half precision rounds the merged weights, but a wrong merge is off by the adapter's whole
    # effect.
    wrong = off.exceeds(ROUNDED) and not (off.half and off.value < effect.value / 4)
    which = "the encoder's adapter" if own else "a random adapter"
    return Check(name, not wrong, off.figure, f"{which} {'changes' if wrong else 'keeps'} the vectors when it is merged")


def _rows(encoder: Encoder, quick: bool = False) -> list[TokenRow]:
    return encoder.tokenize(list(TEXTS[:3] if quick else TEXTS))


def _cut(row: TokenRow, size: int) -> TokenRow:
    pool = row.pool[:size]
    return TokenRow(row.ids[:size], pool if any(pool) else [True] * len(pool), row.offsets[:size])


def _farthest(encoder: Encoder, length: int) -> int:
    """Return the farthest token that the first of `length` tokens must see in every layer."""
    windows = windowed_layers(next(text_configs(encoder.backbone)))
    return min([length - 1, *windows.values()])


def _changed(ids: Tensor, place: int) -> Tensor:
    """Return the same tokens with another one at `place`."""
    other = ids.clone()
    other[place] = ids[0] if ids[0] != ids[place] else (ids[0] - 1).abs()
    return other


def _batch(encoder: Encoder, rows: list[TokenRow]) -> TokenBatch:
    return encoder.pack(rows).to(encoder.device)


def _padding(encoder: Encoder, name: str, side: str, quick: bool) -> Check:
    """Compare our vectors with a padded batch through stock code."""
    batch = _batch(encoder, _rows(encoder, quick))
    worst = Difference(0.0, False)
    with quiet(encoder.backbone):
        ours = encoder(batch)
        allowed = allowance(encoder, batch)
        for implementation in implementations(encoder):
            with stock(encoder.backbone, implementation):
                states = padded_states(encoder.backbone, batch, side, encoder.reads)
                off = compare(encoder, encoder.pool(states, batch), ours)
            if off.exceeds(ROUNDED) and not off.value <= allowed:
                return Check(
                    name,
                    False,
                    off.figure,
                    f"a batch padded {side} through stock {implementation} attention gives other vectors",
                )
            worst = max(worst, off)
    as_close = ", as closely as its own kernels agree" if worst.exceeds(ROUNDED) else ""
    return Check(name, True, worst.figure, f"a batch padded {side} through stock transformers gives the same vectors{as_close}")
