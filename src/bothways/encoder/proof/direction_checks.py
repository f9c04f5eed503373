"""Checks of the direction: the config's claim, the layers' plan, and which token reaches which.

The reference is the attention plan.
"""

from __future__ import annotations

from bothways.attention.direction import direction_of
from bothways.attention.interface import NAME, recording
from bothways.attention.probe import prove_direction
from bothways.attention.stock import can_set_implementation, evaluation_mode
from bothways.attention.text_config import UNBOUNDED, is_encoder_only, text_configs, windowed_layers
from bothways.encoder.module import EncoderModule
from bothways.encoder.proof.check import Check
from bothways.encoder.proof.samples import batch_of, cut_row, rows_of
from bothways.encoder.proof.vector_comparison import (
    report,
)


def claims(encoder: EncoderModule, name: str, quick: bool) -> Check:
    """Check that the config and every layer's flag agree with the encoder.

    Other loaders read nothing else.
    """
    config = next(text_configs(encoder.backbone))
    claimed = direction_of(encoder.backbone)
    if claimed != encoder.direction:
        return Check(
            name,
            False,
            claimed,
            f"the config says {claimed}, the encoder {encoder.direction}: other loaders follow the config",
        )
    flags = [
        m.is_causal
        for m in encoder.backbone.modules()
        if isinstance(getattr(m, "is_causal", None), bool)
    ]
    wrong = (
        0
        if is_encoder_only(config)
        else sum(flag != (encoder.direction == "causal") for flag in flags)
    )
    if wrong:
        figure = f"{wrong} of {len(flags)}"
        return Check(
            name,
            False,
            figure,
            f"{figure} attention layers carry is_causal={encoder.direction != 'causal'}",
        )
    kept = windowed_layers(config) if encoder.direction == "bidirectional" else {}
    meant = report(encoder).get("kept_windows")
    if meant is not None and kept and {str(layer): size for layer, size in kept.items()} != meant:
        return Check(
            name,
            False,
            f"{len(kept)} layers",
            f"the config has a sliding window of {min(kept.values())} tokens that was not kept",
        )
    more = (
        f"; a sliding window of {min(kept.values())} tokens is kept in {len(kept)} layers"
        if kept
        else ""
    )
    return Check(name, True, claimed, f"config and layers agree with the encoder{more}")


def layers(encoder: EncoderModule, name: str, quick: bool) -> Check:
    """Check which pattern every layer executed, as recorded by the attention function itself."""
    config = next(text_configs(encoder.backbone))
    batch = batch_of(encoder, rows_of(encoder)[:3])
    if encoder.execution == "padded":
        used = config._attn_implementation
        if can_set_implementation(encoder.backbone) and used != "eager":
            return Check(
                name, False, used, f"padded passes need eager attention, and the model runs {used}"
            )
        return Check(
            name,
            True,
            used,
            "runs as a padded batch: its layers draw their own mask, so only the perturbation can tell",
        )
    with evaluation_mode(encoder.backbone), recording() as log:
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
        if plan is not batch.plan
        or not (window in allowed or (window is not None and window >= UNBOUNDED))
    ]
    ran = f"{len(log) - len(wrong)} of {total}"
    if wrong or len(log) < config.num_hidden_layers:
        return Check(
            name,
            False,
            ran,
            wrong[0] if wrong else f"only {len(log)} of {total} layers ran the plan",
        )
    return Check(name, True, ran, f"every layer ran the {batch.plan.direction} plan")


def direction(encoder: EncoderModule, name: str, quick: bool) -> Check:
    """Check that every token of a real text reaches every other (or every earlier) one.

    No token may reach the next text of the row.
    """
    size = 6 if quick else 12
    rows = [cut_row(row, size) for row in rows_of(encoder)[:2]]
    rows[1] = cut_row(rows[1], size // 2)
    batch = batch_of(encoder, rows)
    proof = prove_direction(
        encoder.backbone,
        encoder.execution,
        encoder.direction,
        lengths=batch.plan.lengths,
        ids=batch.input_ids,
    )
    pairs = int(proof.plan.dense().sum())
    figure = f"{pairs - len(proof.missing)} of {pairs} pairs"
    if proof.ok:
        reached = (
            "every other token of its text"
            if encoder.direction == "bidirectional"
            else "every earlier token of its text and no later one"
        )
        return Check(
            name, True, figure, f"every token sees {reached}, and no token of the next text"
        )
    seen = layers(encoder, "", quick)
    cause = f": {seen.sentence}" if not seen.passed else ""
    return Check(name, False, f"{figure}, {len(proof.leaks)} leaks", proof.sentence + cause)
