"""Computes the linear layers of an encoder in int8, and says how much of its vectors is kept.

Decoder LLMs have massive activations: a few channels at the first token, and the inputs of some
down projections, are hundreds of times larger than the rest (arXiv 2402.17762). One scale for a row
then leaves few steps for everything else, and a small error in an early layer decides whether such
an activation arises at all. So what each layer loses is measured (`effects`), the few that matter
get a second term or stay in float32 (`choice`), and the result is measured on other texts.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bothways.attention.stock import evaluation_mode
from bothways.backbone.adapter.lora import lora_layers
from bothways.backbone.linears.products import Int8Product, kernel_levels
from bothways.backbone.linears.shared_input import SharedLinear, linears_of, shared, stacked
from bothways.encoder import measured
from bothways.encoder.batch import TokenRow
from bothways.encoder.int8 import choice
from bothways.encoder.int8.choice import LEAST, MEAN, HeldCosines
from bothways.encoder.int8.effects import measure_effects
from bothways.encoder.int8.samples import divided
from bothways.encoder.module import EncoderModule
from bothways.encoder.texts.tokenization import Text
from bothways.errors import InputError
from bothways.nearest import meant

KINDS = ("int8",)

_TOKENS = 64
"""Tokens of a text that are read for the measurements. Short texts lose most."""

_SHOWN = 6  # groups that the report names

_AGAIN = 3  # held texts that are compared again when the choice was measured before
_SAME = 1 - LEAST
"""How far their cosines may be from those that were measured. Rounding differs with the number of
threads, and an early error decides whether a massive activation arises."""

log = logging.getLogger("bothways")


@dataclass(frozen=True)
class Account(HeldCosines):
    """What int8 did to an encoder. `str(account)` is a report of a few lines.

    Args:
        forms: for each group of linear layers with one input, its names and its form, a
            `choice.Form`.
        weights: numbers in the weights of each group.
        bytes_before: memory of these weights in float32.
        bytes_after: the same as they are now.
        cosines: cosine of each held text's vector to that of the float32 encoder.
        worst: beginning of the text with the least cosine.
        levels: the largest whole number of an activation, 127, or 63 on CPUs without VNNI.
    """

    forms: list[tuple[list[str], choice.Form]]
    weights: list[int]
    bytes_before: int
    bytes_after: int
    cosines: list[float]
    worst: str
    levels: int

    def __str__(self) -> str:
        """Write the report."""
        total = sum(self.weights)
        shares = Counter[str]()
        for (_, form), size in zip(self.forms, self.weights):
            shares[form] += size
        kept = [_together(names) for names, form in self.forms if form == "float32"]
        more = f" and {len(kept) - _SHOWN} more" if len(kept) > _SHOWN else ""
        return "\n".join(
            [
                f"int8: {_share(shares['one'], total)} of the weights with one term, {_share(shares['two'], total)} with two of the input, "
                f"{_share(shares['weights'], total)} with two of the weight, {_share(shares['both'], total)} with two of both, "
                f"{_share(shares['float32'], total)} in float32; "
                f"{self.bytes_before / 1e6:.0f} MB became {self.bytes_after / 1e6:.0f} MB",
                f"int8: cosine to float32 on {len(self.cosines)} held texts: mean {self.mean:.4f}, least {self.least:.4f} "
                f"({self.worst!r})",
                f"int8: kept in float32: {', '.join(kept[:_SHOWN]) or 'none'}{more}",
            ]
        )


def _together(names: Sequence[str]) -> str:
    """Write the names of a group shortly, for example "layers.0.mlp.gate_proj+up_proj"."""
    return "+".join([names[0], *(name.rpartition(".")[2] for name in names[1:])])


def _share(part: int, total: int) -> str:
    return f"{100 * part / total:.0f}%"


def place(
    kind: str | None, device: str | torch.device, dtype: str | torch.dtype
) -> tuple[str | torch.device, str | torch.dtype]:
    """Return the device and the dtype that an encoder is loaded with before it is quantized.

    "auto" means "cpu" and "float32". If `kind` is None, both stay as they are.

    Raises:
        InputError: the kind is unknown, or the device or the dtype is another one.
    """
    if kind is None:
        return device, dtype
    if kind not in KINDS:
        raise InputError(
            f"quantize: {meant(kind, KINDS)}must be {' or '.join(KINDS)} (got {kind!r})"
        )
    if torch.device("cpu" if device == "auto" else device).type != "cpu":
        raise InputError(
            f"quantize: int8 runs on a CPU, not on {device}; use device='cpu', or leave quantize out"
        )
    if str(dtype).removeprefix("torch.") not in ("auto", "float32"):
        raise InputError(f"quantize: int8 is made from float32, not from {dtype}; leave dtype out")
    return "cpu", "float32"


def quantize(
    encoder: EncoderModule, texts: Iterable[Text] | None = None, *, identity: str | None = None
) -> Account:
    """Compute the linear layers of an encoder in int8, from now on.

    What was measured is kept in the user's cache folder, see `encoder.measured`. A later process
    with the same encoder and texts makes the same choice from it.

    For example, `print(quantize(encoder, ["a query", "a document"]))` shows what was kept.

    Args:
        encoder: on a CPU, in float32. It is changed: its float32 weights are freed, so it cannot be
            trained or saved any more.
        texts: some of the texts that it will encode. They are used in addition to a built-in set.
        identity: of the encoder, see `measured.identity`. If None, it is computed.

    Raises:
        InputError: the encoder is not in float32 or not on a CPU, has an adapter, is quantized
            already, or has no linear layers that can be quantized.
    """
    check(encoder)
    chosen, held = divided(texts)
    with evaluation_mode(encoder):
        rows, held_rows = (tokenized(encoder, part) for part in (chosen, held))
        entry = measured.KeptMeasurement(
            "int8",
            {
                "encoder": measured.identity(encoder) if identity is None else identity,
                "texts": [measured.tokens_of(part) for part in (rows, held_rows)],
                "levels": kernel_levels(),
            },
        )
        layers = linears_of(encoder.backbone)
        found = _stored(encoder, entry, layers, held_rows)
        if found is None:
            found = _measured(encoder, layers, rows, held_rows)
            entry.write(found.as_json())
    encoder.backbone.requires_grad_(False)
    account = _account(found, layers, held)
    encoder.quantized = account
    if not account.ok:
        log.warning(
            "int8 loses more than it should on this model: mean cosine %.4f (at least %s), least %.4f (at least %s)",
            *(account.mean, MEAN, account.least, LEAST),
        )
    return account


def check(encoder: EncoderModule) -> None:
    """Raise InputError if an encoder cannot be quantized."""
    if encoder.quantized is not None:
        raise InputError("quantize: the encoder is in int8 already")
    _ = encoder.backbone  # an export has none, and says so
    if encoder.device.type != "cpu":
        raise InputError(
            f"quantize: int8 runs on a CPU, and the encoder is on {encoder.device}; load it with device='cpu'"
        )
    kinds = {p.dtype for p in encoder.backbone.parameters() if p.is_floating_point()}
    if kinds != {torch.float32}:
        named = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        raise InputError(
            f"quantize: int8 is made from float32 weights, and the encoder is in {named}; load it with dtype='float32'"
        )
    if any(True for _ in lora_layers(encoder.backbone)):
        raise InputError("quantize: the encoder carries an adapter; merge it first")
    if not linears_of(encoder.backbone):
        raise _without_linears(encoder)
    try:
        kernel_levels()
    except (RuntimeError, AttributeError):
        raise InputError(
            "quantize: this build of torch has no exact 8-bit product on this CPU; leave quantize out"
        ) from None


def _check_groups(encoder: EncoderModule, groups: Sequence[Sequence[str]]) -> None:
    if not groups:
        raise _without_linears(encoder)


def _without_linears(encoder: EncoderModule) -> InputError:
    config = getattr(encoder.backbone, "config", None)
    family = getattr(config, "model_type", type(encoder.backbone).__name__)
    return InputError(
        f"quantize: {family} has no linear layers that can be computed in int8; leave quantize out"
    )


def tokenized(encoder: EncoderModule, texts: Sequence[Text]) -> list[TokenRow]:
    """Tokenize texts without their prompts. Those without a pooled token are left out."""
    limit = _TOKENS if encoder.max_length is None else min(_TOKENS, encoder.max_length)
    return encoder.tokenize(texts, max_length=limit)


@dataclass(frozen=True)
class _Int8Layers:
    """An encoder's layers in int8: groups with one input, their forms, and what was measured."""

    groups: list[list[str]]
    forms: list[choice.Form]
    products: Sequence[Int8Product | None]  # None: the group stays in float32
    cosines: list[float]
    again: list[float]  # cosines of the first held texts, in a pass of their own

    def as_json(self) -> dict[str, Any]:
        names = ("groups", "forms", "cosines", "again")
        return {name: getattr(self, name) for name in names}


def _measured(
    encoder: EncoderModule,
    layers: dict[str, nn.Linear],
    rows: Sequence[TokenRow],
    held_rows: Sequence[TokenRow],
) -> _Int8Layers:
    """Choose the forms by the losses of some texts, and install those that keep the held texts."""
    wanted, wanted_held, few = (
        _vectors(encoder, part) for part in (rows, held_rows, held_rows[:_AGAIN])
    )
    effects = measure_effects(encoder, rows)
    _check_groups(encoder, effects.groups)
    products = [
        Int8Product(stacked([layers[name] for name in group]), 2, 2) for group in effects.groups
    ]
    forms, cosines = choice.settle(
        effects,
        lambda tried: _install(encoder, effects.groups, tried, layers, products),
        lambda held: (
            _cosines(_vectors(encoder, held_rows), wanted_held)
            if held
            else _cosines(_vectors(encoder, rows), wanted)
        ),
    )
    for product in products:
        product.forget()
    again = _cosines(_vectors(encoder, held_rows[:_AGAIN]), few)
    return _Int8Layers(effects.groups, forms, products, cosines.tolist(), again.tolist())


def _stored(
    encoder: EncoderModule,
    entry: measured.KeptMeasurement,
    layers: dict[str, nn.Linear],
    held_rows: Sequence[TokenRow],
) -> _Int8Layers | None:
    """Install the forms that another process has measured, or return None.

    Some held texts are compared with float32 again. If they differ from what was measured, the
    layers are as before.
    """
    stored = entry.read()
    if stored is None:
        return None
    groups, forms = stored["groups"], stored["forms"]
    if not {name for group in groups for name in group} <= set(layers):
        entry.refuse("names other layers")
        return None
    few = held_rows[: len(stored["again"])]
    wanted = _vectors(encoder, few)
    products = [
        None
        if form == "float32"
        else Int8Product(stacked([layers[name] for name in group]), *choice.TERMS[form])
        for group, form in zip(groups, forms, strict=True)
    ]
    _install(encoder, groups, forms, layers, products)
    again = _cosines(_vectors(encoder, few), wanted)
    if not np.abs(again - stored["again"]).max() <= _SAME:
        _install(encoder, groups, ["float32"] * len(groups), layers, products)
        entry.refuse("does not fit the vectors of this process")
        return None
    return _Int8Layers(groups, forms, products, stored["cosines"], stored["again"])


def _vectors(encoder: EncoderModule, rows: Sequence[TokenRow]) -> Tensor:
    vectors: Tensor = encoder(encoder.pack(rows))
    return vectors.double()


def _cosines(found: Tensor, wanted: Tensor) -> np.ndarray:
    cosines: np.ndarray = nn.functional.cosine_similarity(found, wanted, dim=-1).numpy()
    return cosines


def _install(
    encoder: EncoderModule,
    groups: Sequence[Sequence[str]],
    forms: Sequence[choice.Form],
    layers: dict[str, nn.Linear],
    products: Sequence[Int8Product | None],
) -> None:
    """Compute the groups in their chosen forms."""
    for names, form, product in zip(groups, forms, products):
        own = [layers[name] for name in names]
        made: Sequence[nn.Linear | SharedLinear] = own
        if form != "float32" and product is not None:
            product.terms, product.weight_terms = choice.TERMS[form]
            made = shared(own, product)
        for name, module in zip(names, made):
            parent, _, child = name.rpartition(".")
            setattr(encoder.backbone.get_submodule(parent), child, module)


def _account(found: _Int8Layers, layers: dict[str, nn.Linear], held: Sequence[Text]) -> Account:
    weights = [sum(layers[name].weight.numel() for name in group) for group in found.groups]
    after = [
        4 * size if form == "float32" or product is None else product.bytes
        for size, form, product in zip(weights, found.forms, found.products)
    ]
    worst = held[int(np.argmin(found.cosines))]
    return Account(
        [(list(group), form) for group, form in zip(found.groups, found.forms)],
        weights,
        4 * sum(weights),
        sum(after),
        list(found.cosines),
        " ".join((worst if isinstance(worst, str) else worst[1]).split())[:40],
        kernel_levels(),
    )
