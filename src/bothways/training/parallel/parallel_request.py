"""What `accelerate launch` asks for beyond several processes: FSDP2 (`sharding.py`) or DeepSpeed's ZeRO (`zero.py`).

It is read from the launcher's environment and hidden from Accelerate, which drops FSDP of CPUs without a word, would wrap the model whole
and scale its gradients, which here are sums (`optimizer_step.py`), and takes DeepSpeed's optimiser step within a backward pass; and from
transformers, whose loaders leave weights to be sent by the first process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from bothways.errors import InputError
from bothways.training.parallel.sharding import HOW, Sharding
from bothways.training.parallel.zero import Zero

if TYPE_CHECKING:
    from bothways.training.recipe.recipe import Recipe

#: Objectives with one pass per micro-batch, whatever its texts. Every pass exchanges something, so all processes must make equally many.
SHARDABLE = ("causal_lm", "mntp", "llara")
FSDP, DEEPSPEED = "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"
#: What is not supported, and what it is called.
OTHERS = {"ACCELERATE_USE_MEGATRON_LM": "Megatron-LM", "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism config"}


class ParallelRequest(NamedTuple):
    """How the launcher wants a stage split over its processes; at most one of the two."""

    sharding: Sharding | None = None
    zero: Zero | None = None


def requested(recipe: Recipe, *, dry_run: bool = False) -> ParallelRequest:
    """What the launcher asks for.

    Raises:
        InputError: a way of splitting, a setting or an objective that is not supported; DeepSpeed is not installed.
    """
    for variable, name in OTHERS.items():
        if _on(variable):
            raise InputError(f"accelerate: {name} ({variable}) is not supported; to shard the model use FSDP2: {HOW}")
    asked = [variable for variable in (FSDP, DEEPSPEED) if _on(variable)]
    if not asked:
        return ParallelRequest()
    if len(asked) > 1:
        raise InputError(f"accelerate: {FSDP} and {DEEPSPEED} are both set; a model is split one way, unset one of them")
    launch = ParallelRequest(sharding=Sharding.asked()) if asked == [FSDP] else ParallelRequest(zero=Zero.asked())
    if dry_run:
        raise InputError(f"accelerate: a dry run measures whole models; start it without {asked[0]}")
    for stage in recipe.stages:
        if stage.objective.kind not in SHARDABLE:
            raise InputError(
                f"stages.{stage.name}: {stage.objective.kind} cannot be sharded ({asked[0]}), since its processes make different numbers "
                f"of passes ({', '.join(SHARDABLE)} can); train it by a recipe of its own, without {asked[0]}"
            )
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        raise InputError(
            f"accelerate: one process has nobody to share with ({asked[0]}); launch it with --num_processes 2 or more"
        )
    return launch


@contextmanager
def hidden() -> Iterator[None]:
    """Within the block neither Accelerate nor transformers sees the request."""
    before = {variable: os.environ[variable] for variable in (FSDP, DEEPSPEED) if variable in os.environ}
    os.environ.update(dict.fromkeys(before, "false"))
    try:
        yield
    finally:
        os.environ.update(before)


def _on(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("true", "1", "yes")
