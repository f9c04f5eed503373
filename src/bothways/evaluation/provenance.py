"""What a reader needs to get a score again beside library versions: which encoder, which command."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from typing import Any

from bothways.evaluation.model_identity import model_fingerprint


def command_line() -> str:
    """The running command, quoted so that a shell would take it."""
    return shlex.join(sys.argv)


def describe(encoder: Any) -> dict[str, Any]:
    """Class, name, training stages, direction, precision and fingerprint of an encoder; what it does not tell is left out."""
    own = getattr(encoder, "provenance", None)
    own = own if isinstance(own, Mapping) else {}
    card = getattr(encoder, "model_card_data", None)  # where a SentenceTransformer keeps what it was loaded from
    parameter = next(iter(encoder.parameters()), None) if callable(getattr(encoder, "parameters", None)) else None
    stages = [stage.get("name", stage) if isinstance(stage, Mapping) else stage for stage in own.get("stages") or ()]
    told = {
        "name": own.get("base") or getattr(encoder, "name", None) or getattr(card, "base_model", None),
        "direction": getattr(encoder, "direction", None),
        "dtype": str(parameter.dtype).removeprefix("torch.") if parameter is not None else None,
        "device": str(parameter.device) if parameter is not None else None,
    }
    facts: dict[str, Any] = {key: str(value) for key, value in told.items() if value is not None}
    if stages:
        facts["stages"] = [str(stage) for stage in stages]
    return {"class": type(encoder).__name__, **facts, "fingerprint": model_fingerprint(encoder)}
