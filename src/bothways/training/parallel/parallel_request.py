"""Reads how `accelerate launch` wants a stage split: FSDP2 (`sharding.py`) or ZeRO (`zero.py`).

The request is read from the launcher's environment, and hidden from Accelerate and transformers.
Accelerate drops FSDP on CPUs without a message, would wrap the whole model, scales its gradients,
which here are sums (`optimizer_step.py`), and takes DeepSpeed's optimizer step within a backward
pass. The loaders of transformers leave weights for the first process to send.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from bothways.errors import InputError
from bothways.training.parallel.sharding import HOW, Sharding
from bothways.training.parallel.zero import Zero

FSDP, DEEPSPEED = "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"
OTHERS = {
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism config",
}
"""Variables of ways to split that are not supported, and their names."""


class ParallelRequest(NamedTuple):
    """How the launcher wants a stage split over its processes. At most one field is set."""

    sharding: Sharding | None = None
    zero: Zero | None = None


def requested(*, dry_run: bool = False) -> ParallelRequest:
    """Read the launcher's request.

    Raises:
        InputError: if a way of splitting or a setting is not supported, or if DeepSpeed is not
            installed.
    """
    for variable, name in OTHERS.items():
        if _on(variable):
            raise InputError(
                f"accelerate: {name} ({variable}) is not supported; to shard the model use FSDP2: {HOW}"
            )
    asked = [variable for variable in (FSDP, DEEPSPEED) if _on(variable)]
    if not asked:
        return ParallelRequest()
    if len(asked) > 1:
        raise InputError(
            f"accelerate: {FSDP} and {DEEPSPEED} are both set, but a model is split in one way only; unset one of them"
        )
    launch = (
        ParallelRequest(sharding=Sharding.asked())
        if asked == [FSDP]
        else ParallelRequest(zero=Zero.asked())
    )
    if dry_run:
        raise InputError(
            f"accelerate: a dry run measures whole models; start it without {asked[0]}"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        raise InputError(
            f"accelerate: a single process cannot share a model ({asked[0]}); launch with --num_processes 2 or more"
        )
    return launch


@contextmanager
def hidden() -> Iterator[None]:
    """Hide the request from Accelerate and transformers inside the block."""
    before = {
        variable: os.environ[variable] for variable in (FSDP, DEEPSPEED) if variable in os.environ
    }
    os.environ.update(dict.fromkeys(before, "false"))
    try:
        yield
    finally:
        os.environ.update(before)


def _on(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("true", "1", "yes")
