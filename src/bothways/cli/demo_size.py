"""The sizes of `bothways demo`, and the choice of one by the speed of the machine.

The demo must end within some ten minutes on any laptop, and processors differ eightfold. The size
decides every figure, so the table names it. The same size and seed give the same figures.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder
    from bothways.training.recipe.recipe import Recipe


@dataclass(frozen=True)
class DemoSize:
    """How much the demo measures and trains.

    Attributes:
        name: value of `--size`.
        candidates: functions to find. If None, all held-out functions.
        mntp_steps: steps of MNTP, of 8 rows of 128 tokens.
        simcse_steps: steps of SimCSE.
        simcse_batch: texts of a step of SimCSE.
        pairs_steps: steps on pairs of names and comments with their code.
        pairs_batch: pairs of such a step.
        least: lowest rate of passes, in GFLOP/s, at which the demo ends within some ten minutes.
    """

    name: str
    candidates: int | None
    mntp_steps: int
    simcse_steps: int
    simcse_batch: int
    pairs_steps: int
    pairs_batch: int
    least: float


SIZES = (
    DemoSize("full", None, 40, 40, 48, 30, 40, 450.0),
    DemoSize("medium", 500, 24, 24, 32, 20, 32, 225.0),
    DemoSize("small", 150, 8, 10, 16, 10, 16, 0.0),
)
"""From the largest to the smallest. The whole work of SmolLM2-135M is 270, 133 and 40 TFLOP: five
times the vectors of candidates and queries, and forward and backward of all steps. At 450, 225 and
65 GFLOP/s it takes ten minutes.
"""
SECONDS = 5.0
"""How long passes are timed."""
TEXTS = 16
"""Texts of a timed pass: some 1,200 tokens, as in a pass of encoding on a CPU."""
SAMPLE = """Return the entries of a mapping as a list of pairs, sorted by their keys.
    def sorted_entries(mapping, reverse=False):
        entries = [(key, mapping[key]) for key in mapping]
        return sorted(entries, key=first_of_pair, reverse=reverse)
"""
"""A text like the demo's: a description and a function."""


def by_name(name: str) -> DemoSize:
    """Return the size of a name.

    Raises:
        InputError: if there is none.
    """
    from bothways.errors import InputError
    from bothways.nearest import meant

    names = [size.name for size in SIZES]
    if name not in names:
        raise InputError(
            f"--size {name}: is not a size; {meant(name, names)}choose one of {', '.join(names)}"
        )
    return SIZES[names.index(name)]


def by_rate(gflops: float) -> DemoSize:
    """Return the largest size that ends in time at a rate of passes in GFLOP/s."""
    return next(size for size in SIZES if gflops >= size.least)


def of_run(recipe: Path, wanted: dict[str, Recipe]) -> DemoSize | None:
    """Return the size with which a stopped demo began, or None if it is unknown.

    Args:
        recipe: the recipe.yaml of the run.
        wanted: the demo's recipe by name of its size.
    """
    from bothways.training.recipe.recipe_files import read_recipe

    if not recipe.is_file():
        return None
    begun = [stage.optim.steps for stage in read_recipe(recipe).stages]
    for name, each in wanted.items():
        if [stage.optim.steps for stage in each.stages] == begun:
            return by_name(name)
    return None


def measured_rate(encoder: Encoder) -> float:
    """Time passes of an encoder over texts of the demo's length, and return its GFLOP/s.

    Only the operations of its linear layers are counted. Everything else that a pass does costs
    time: on two cores whose plain products reach 860 GFLOP/s, passes reached 150 when memory was
    slow. The median of some seconds is taken, after one pass that is not counted. No random number
    of the caller is used up.
    """
    import statistics

    from bothways.bench.limit import operations, shapes

    texts = [f"{number}: {SAMPLE}" for number in range(TEXTS)]
    tokens = sum(len(ids) for ids in encoder.tokenizer(texts, add_special_tokens=False).input_ids)
    encoder.encode(texts)
    taken: list[float] = []
    start = time.perf_counter()
    while not taken or time.perf_counter() - start < SECONDS:
        began = time.perf_counter()
        encoder.encode(texts)
        taken.append(time.perf_counter() - began)
    return operations(shapes(encoder.backbone)) * tokens / statistics.median(taken) / 1e9
