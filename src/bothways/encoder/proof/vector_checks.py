"""Checks of the vectors: the same text in other company, and through stock transformers.

The references are stock transformers on a padded batch or a single text, and the same text alone.

Letters: T tokens of a packed row, N texts, H hidden.
"""

from __future__ import annotations

import torch

from bothways.attention.stock import INFLUENCE, distance, evaluation_mode, stock
from bothways.encoder.batch import TokenBatch
from bothways.encoder.int8.choice import LEAST, MEAN
from bothways.encoder.module import EncoderModule
from bothways.encoder.proof.check import Check
from bothways.encoder.proof.samples import batch_of, changed, farthest, rows_of
from bothways.encoder.proof.vector_comparison import (
    EXACT,
    ROUNDED,
    Difference,
    allowance,
    alone_states,
    compare_vectors,
    implementations,
    is_relative,
    padded_states,
    takes_positions,
)


def padding_right(encoder: EncoderModule, name: str, quick: bool) -> Check:
    """Check that a right-padded batch through stock transformers gives our vectors."""
    return _padding(encoder, name, "right", quick)


def padding_left(encoder: EncoderModule, name: str, quick: bool) -> Check:
    """Check that a left-padded batch through stock transformers gives our vectors.

    Position ids are passed if the family takes them.
    """
    if not takes_positions(encoder.backbone) and not is_relative(
        encoder, batch_of(encoder, rows_of(encoder)[:2])
    ):
        return Check(
            name,
            True,
            "–",
            "the family counts positions from the first column, so no loader may pad it left",
        )
    return _padding(encoder, name, "left", quick)


def _padding(encoder: EncoderModule, name: str, side: str, quick: bool) -> Check:
    """Compare our vectors with a padded batch through stock code."""
    batch = batch_of(encoder, rows_of(encoder, quick))
    worst = Difference(0.0, False)
    with evaluation_mode(encoder.backbone):
        ours = encoder(batch)
        allowed = allowance(encoder, batch)
        for implementation in implementations(encoder):
            with stock(encoder.backbone, implementation):
                states = padded_states(encoder.backbone, batch, side, encoder.reads)
                off = compare_vectors(encoder, encoder.pool(states, batch), ours)
            if off.exceeds(ROUNDED) and not off.value <= allowed:
                return Check(
                    name,
                    False,
                    off.figure,
                    f"a batch padded {side} through stock {implementation} attention gives other vectors",
                )
            worst = max(worst, off)
    as_close = ", as closely as its own kernels agree" if worst.exceeds(ROUNDED) else ""
    return Check(
        name,
        True,
        worst.figure,
        f"a batch padded {side} through stock transformers gives the same vectors{as_close}",
    )


def batch_of_one(encoder: EncoderModule, name: str, quick: bool) -> Check:
    """Check that one text without padding through stock transformers gives our vectors.

    Shortcuts for such texts silently restore causality.
    """
    rows = rows_of(encoder, quick)
    batch = batch_of(encoder, rows[:1])
    kinds = implementations(encoder)
    worst = Difference(0.0, False)
    far = farthest(encoder, len(batch.input_ids))
    other = changed(batch.input_ids, far)
    with evaluation_mode(encoder.backbone):
        ours = encoder(batch)
        allowed = allowance(encoder, batch_of(encoder, rows))
        for implementation in kinds:
            with stock(encoder.backbone, implementation):
                states = alone_states(encoder.backbone, batch, encoder.reads)
                moved = alone_states(
                    encoder.backbone, TokenBatch(other, batch.plan, batch.pool, 1), encoder.reads
                )
            ahead = distance(moved[:1], states[:1]) > INFLUENCE
            if ahead != (encoder.direction == "bidirectional"):
                what = "sees" if ahead else "does not see"
                return Check(
                    name,
                    False,
                    implementation,
                    f"through stock {implementation} attention token 1 {what} token {len(other)}",
                )
            off = compare_vectors(encoder, encoder.pool(states, batch), ours)
            if off.exceeds(ROUNDED) and not off.value <= allowed:
                return Check(
                    name,
                    False,
                    off.figure,
                    f"one text through stock {implementation} attention gives another vector",
                )
            worst = max(worst, off)
    only = "" if "sdpa" in kinds else " (eager only, so set it in other loaders)"
    return Check(
        name,
        True,
        worst.figure,
        f"one text gives the same vector through stock {' and '.join(kinds)} attention{only}",
    )


def packing(encoder: EncoderModule, name: str, quick: bool) -> Check:
    """Check that a text alone has the same vector as among other texts.

    Half precision gets the same `allowance` as padding: matrix products of other sizes round
    otherwise, most of all on a CPU with AMX.
    """
    rows = rows_of(encoder, quick)
    with evaluation_mode(encoder.backbone):
        batch = batch_of(encoder, rows)
        together = encoder(batch)
        alone = torch.cat([encoder(batch_of(encoder, [row])) for row in rows])
        off = compare_vectors(encoder, together, alone)
        right = not off.exceeds(EXACT) or off.value <= allowance(encoder, batch)
    what = (
        "is the same alone and packed with other texts"
        if right
        else "changes when other texts are packed with it"
    )
    as_close = ", as closely as its own kernels agree" if right and off.exceeds(EXACT) else ""
    return Check(name, right, off.figure, f"a text's vector {what}{as_close}")


def int8(encoder: EncoderModule, name: str, quick: bool) -> Check:
    """Check that int8 keeps the vectors, as measured on held texts when it was made."""
    account = encoder.quantized
    figure = f"cos {account.least:.4f}"
    what = "keeps" if account.ok else "does not keep"
    return Check(
        name,
        account.ok,
        figure,
        f"int8 {what} the vectors of {len(account.cosines)} held texts: mean cosine to float32 {account.mean:.4f} "
        f"(at least {MEAN}), least {account.least:.4f} (at least {LEAST})",
    )


def order(encoder: EncoderModule, name: str, quick: bool) -> Check:
    """Check that the order of the texts changes nothing."""
    rows = rows_of(encoder, quick)
    with evaluation_mode(encoder.backbone):
        forward = encoder(batch_of(encoder, rows))
        backward = encoder(batch_of(encoder, rows[::-1])).flip(0)
    off = compare_vectors(encoder, backward, forward)
    what = "changes their vectors" if off.exceeds(EXACT) else "changes nothing"
    return Check(name, not off.exceeds(EXACT), off.figure, f"the order of the texts {what}")
