"""The facts that a reader needs to reproduce a score: which encoder, and which command.

Library versions come from `bothways.provenance`.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from typing import Any

from bothways.evaluation.model_identity import model_fingerprint


def command_line() -> str:
    """Return the running command, quoted so that a shell accepts it."""
    return shlex.join(sys.argv)


def describe_encoder(encoder: Any) -> dict[str, Any]:
    """Describe an encoder by class, name, training stages, direction, precision and fingerprint.

    Facts that the encoder does not have are left out.
    """
    own = getattr(encoder, "provenance", None)
    own = own if isinstance(own, Mapping) else {}
    card = getattr(encoder, "model_card_data", None)  # a SentenceTransformer keeps its base here
    parameter = (
        next(iter(encoder.parameters()), None)
        if callable(getattr(encoder, "parameters", None))
        else None
    )
    stages = [
        stage.get("name", stage) if isinstance(stage, Mapping) else stage
        for stage in own.get("stages") or ()
    ]
    told = {
        "name": own.get("base")
        or getattr(encoder, "name", None)
        or getattr(card, "base_model", None),
        "direction": getattr(encoder, "direction", None),
        "dtype": str(parameter.dtype).removeprefix("torch.") if parameter is not None else None,
        "device": str(parameter.device) if parameter is not None else None,
    }
    facts: dict[str, Any] = {key: str(value) for key, value in told.items() if value is not None}
    if stages:
        facts["stages"] = [str(stage) for stage in stages]
    return {"class": type(encoder).__name__, **facts, "fingerprint": model_fingerprint(encoder)}
