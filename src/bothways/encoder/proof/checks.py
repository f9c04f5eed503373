"""The doctor's checks in the order in which they run.

Each is a function (encoder, name, quick) → Check. If `quick` is True, it uses fewer texts or
tokens.
"""

from __future__ import annotations

from collections.abc import Callable

from bothways.encoder.module import EncoderModule
from bothways.encoder.proof.check import Check
from bothways.encoder.proof.direction_checks import claims, direction, layers
from bothways.encoder.proof.disk import embedded_base, embedded_cache, on_disk
from bothways.encoder.proof.graph_checks import graph
from bothways.encoder.proof.training_checks import (
    adapters,
    gradient_checkpointing,
    training_direction,
)
from bothways.encoder.proof.vector_checks import (
    batch_of_one,
    int8,
    order,
    packing,
    padding_left,
    padding_right,
)

CheckFunction = Callable[[EncoderModule, str, bool], Check]

ALWAYS: tuple[CheckFunction, ...] = (
    claims,
    layers,
    direction,
    padding_right,
    padding_left,
    batch_of_one,
    packing,
    order,
    on_disk,
)
SLOW: tuple[CheckFunction, ...] = (gradient_checkpointing, training_direction, adapters)


def checks_for(encoder: EncoderModule, quick: bool) -> list[CheckFunction]:
    """Choose the checks of an encoder.

    The slow ones are left out if `quick` is True, and for an encoder in int8, which is not trained.
    """
    more = [graph] if encoder.graph is not None and not encoder.graph.waits else []
    if embedded_base(encoder) is not None:
        more.append(embedded_cache)
    if encoder.quantized is not None:
        return [*ALWAYS, int8, *more]
    return [*ALWAYS, *more, *(() if quick else SLOW)]
