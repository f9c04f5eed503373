"""Stages that learn from vectors: texts of uneven length, so that two processes run different
numbers of passes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bothways.data.conversion.converted import write_examples
from bothways.data.labeled.example import Example
from bothways.training.recipe.recipe import Recipe
from unit.training.material import TEXTS, recipe, simcse
from unit.training.processes import SHORT

ROWS = [
    Example(
        " ".join([TEXTS[number]] * (1 + number % 5)),
        (TEXTS[number + 1],),
        (TEXTS[number + 2], TEXTS[number + 3])[: 1 + number % 2],
        query_prompt="Ask: ",
    )
    for number in range(60)
]
ONE = {"size": 8}
TWO = {"size": 4}
PASSES = {"max_length": 48, "batch_tokens": 64, "graph_tokens": 150}
"""Several passes for each process, of which some keep their activations."""


def labeled(folder: Path, batch: dict[str, int], *, stage: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    """In-batch negatives, hard ones that are mined again, and a held-out loss; nothing random."""
    held = folder / "held.jsonl"
    folder.mkdir(exist_ok=True)
    if not held.exists():
        write_examples(ROWS[:7], held)
    made = {
        "name": "supervised",
        "objective": {"kind": "supervised", "scale": 20.0, "negatives": 2, **PASSES},
        "data": {"source": "rows.jsonl"},
        "batch": batch,
        "optim": SHORT,
        "adapter": {"r": 4, "dropout": 0.0},
        "refresh": {"every": 2, "negatives": 2, "window": [1, 12], "perc": None},
        # one batch, because another size has other in-batch negatives
        "heldout": {"data": {"source": str(held)}, "every": 2, "limit": 4},
        "save_every": 2,
        "log_every": 1,
    }
    return recipe(folder, {**made, **(stage or {})}, **changes)


def latent(folder: Path, batch: dict[str, int]) -> Recipe:
    """As NV-Embed's first stage: a latent attention pooling is trained with the adapter."""
    pooling = {"mode": "latent_attention", "latents": 8, "heads": 2}
    return labeled(folder, batch, stage={"refresh": None, "heldout": None}, pooling=pooling)


def every_weight(folder: Path, batch: dict[str, int]) -> Recipe:
    """Every weight, without in-batch negatives, and clipped, as NV-Embed's second stage."""
    objective = {"kind": "supervised", "scale": 20.0, "negatives": 2, "in_batch": False, **PASSES}
    optim = {**SHORT, "clip_norm": 0.1}
    return labeled(
        folder, batch, stage={"refresh": None, "heldout": None, "adapter": None, "objective": objective, "optim": optim}
    )


def rounded(folder: Path, batch: dict[str, int]) -> Recipe:
    """QLoRA: the frozen weights have 4 bits."""
    adapter = {"r": 4, "dropout": 0.0, "load_in_4bit": True}
    return labeled(folder, batch, stage={"refresh": None, "heldout": None, "adapter": adapter})


def views(folder: Path) -> Recipe:
    """SimCSE with dropout, whose masks depend on the process."""
    objective = {"kind": "contrastive", "attention_dropout": 0.3, "mlp": True, **PASSES}
    return recipe(folder, simcse(objective=objective, batch=TWO, optim=SHORT, save_every=2, log_every=1))


UNEVEN = [row.query for row in ROWS]
