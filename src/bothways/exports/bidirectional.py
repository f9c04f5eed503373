"""Refuses causal encoders, which no export is for."""

from __future__ import annotations

from bothways.encoder.encoder import Encoder
from bothways.errors import InputError


def refuse_causal(encoder: Encoder) -> None:
    """Check the direction of an encoder that is exported.

    Raises:
        InputError: if it is causal.
    """
    if encoder.direction != "bidirectional":
        raise InputError(
            "export: the encoder is causal; convert it with direction='bidirectional' first"
        )
