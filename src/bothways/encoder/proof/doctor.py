"""The doctor: proves, on the loaded model, that an encoder has the properties it claims.

A direction is proved and not assumed. Library versions ignore flags, shortcuts restore causality
for texts without padding, and layers keep windows of their own. Each check measures one invariant
on real sentences, against stock transformers if possible, and ends in a figure and one plain
sentence. The encoder is not changed: modes, flags, gradients and weights are restored.

The checks themselves are in `encoder.proof.checks` and `encoder.proof.disk`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from bothways.encoder.proof.check import Check, Diagnosis

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder


def doctor(encoder: Encoder, *, quick: bool = False) -> Diagnosis:
    """Prove direction, padding, batching and packing invariance of an encoder.

    If it was loaded from a folder, also prove that the folder agrees.

    Args:
        encoder: from `bothways.convert` or `bothways.load`, with or without an adapter. It is not
            changed.
        quick: leave out gradient checkpointing, training mode and adapters, and use fewer texts
            and tokens.

    Returns:
        The checks. `.ok` is the verdict.
    """
    from bothways.encoder.proof import checks, disk
    from bothways.encoder.proof.temporary_state import untouched

    _ = encoder.backbone  # an export has none, and says so here and not in every check
    chosen = [checks.claims, checks.layers, checks.direction, checks.padding_right, checks.padding_left, checks.batch_of_one]
    chosen += [checks.packing, checks.order, disk.on_disk]
    if disk.embedded_base(encoder) is not None:
        chosen.append(disk.embedded_cache)
    if not quick:
        chosen += [checks.gradient_checkpointing, checks.training_direction, checks.adapters]
    with untouched(encoder):
        results = tuple(_guarded(check, encoder, quick) for check in chosen)
    return Diagnosis(results)


def _guarded(check: Callable[[Encoder, str, bool], Check], encoder: Encoder, quick: bool) -> Check:
    name = check.__name__.replace("_", " ")
    try:
        with torch.random.fork_rng(devices=[encoder.device] if encoder.device.type == "cuda" else []):
            return check(encoder, name, quick)
    # A model may be broken in any way. That is a finding, and the other checks continue.
    except Exception as error:
        message = " ".join(str(error).split())[:200]
        return Check(name, False, "error", f"the model stopped with {type(error).__name__}: {message}")
