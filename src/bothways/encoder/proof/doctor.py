"""The doctor: proves, on the loaded model, that an encoder has the properties it claims.

A direction is proved and not assumed. Library versions ignore flags, shortcuts restore causality
for texts without padding, and layers keep windows of their own. Each check measures one invariant
on real sentences, against stock transformers if possible, and ends in a figure and one plain
sentence. The encoder is not changed: modes, flags, gradients and weights are restored.

`encoder.proof.checks` lists the checks.
"""

from __future__ import annotations

import torch

from bothways.encoder.module import EncoderModule
from bothways.encoder.proof.check import Check, Diagnosis
from bothways.encoder.proof.checks import CheckFunction, checks_for
from bothways.encoder.proof.temporary_state import untouched
from bothways.progress import Progress


def doctor(encoder: EncoderModule, *, quick: bool = False) -> Diagnosis:
    """Prove direction, padding, batching and packing invariance of an encoder.

    If it was loaded from a folder, also prove that the folder agrees. For example,
    `print(doctor(encoder))` shows a line for each check, and `doctor(encoder).ok` is the verdict.

    Args:
        encoder: from `bothways.convert` or `bothways.load`, with or without an adapter. It is not
            changed.
        quick: leave out gradient checkpointing, training mode and adapters, and use fewer texts
            and tokens.

    Returns:
        The checks. `.ok` is the verdict.
    """
    _ = encoder.backbone  # an export has none, and says so here and not in every check
    checks = checks_for(encoder, quick)
    results = []
    with untouched(encoder), Progress("doctor", len(checks), "checks") as bar:
        for check in checks:
            results.append(_guarded(check, encoder, quick))
            bar.advance()
    return Diagnosis(tuple(results))


def _guarded(check: CheckFunction, encoder: EncoderModule, quick: bool) -> Check:
    name = check.__name__.replace("_", " ")
    try:
        with torch.random.fork_rng(
            devices=[encoder.device] if encoder.device.type == "cuda" else []
        ):
            return check(encoder, name, quick)
    # A model may be broken in any way. That is a finding, and the other checks continue.
    except Exception as error:
        message = " ".join(str(error).split())[:200]
        return Check(
            name, False, "error", f"the model stopped with {type(error).__name__}: {message}"
        )
