"""NV-Embed's poolings, directions and stages again: which change of the recipe counts, and the tables with all of them.

The published order did not appear with the first recipe (docs/results/labels.md). The ladder changes one thing a row,
on mean pooling and 90 steps of 16 rows (260,000 tokens, by count of words):

    as it was    scale 50, two stages, in-batch negatives off in the second
    scale 20     scale 20
    by task      and in-batch negatives in the second stage for the tasks without labels
    BOS          and BOS before every text, not pooled
    adapted      and the base after MNTP (bidirectional) or after as much causal language modeling (causal): 819,200 tokens

"directions" has all changes, other rates (5e-4, then 3e-4; 1e-4 for a trained pooling, which starts as the mean),
and more rows: 150 steps of 64 over NLI, the library, WikiSplit and SciFact with one negative each, then 60 of 32 with
Banking77 as well, two hard and four random negatives each. That is 1.15M and 0.6M tokens, by count of words.

Both are measured on development sets: STS-B dev, and descriptions of the library that are not trained on. "test" has
the encoders of "directions" on the test sets. Its trainings are the same.
"""

from __future__ import annotations

from typing import Any

from supervised_data import DEV, LINES, Files
from supervised_tables import NV_COLUMNS, STDLIB_TOKENS, Make, Scored, Table, Training, nv_tasks

import bothways as bw
from bothways.data.labeled.templates import task_prompts
from bothways.evaluation.tasks.retrieval import Retrieval
from bothways.evaluation.tasks.sts import STS as Similarity
from bothways.recipes.labeled import EMBEDDED_INSTRUCTION
from bothways.training.recipe.overrides import override_values

ADAPTED_TOKENS = 400 * 16 * 128
LADDER_TOKENS = 260_000
TABLE_TOKENS = 1_750_000
SAVE_EVERY = 10  # steps that a killed training takes again at most
ADAPTER = {"bidirectional": "adapters/1-mntp", "causal": "adapters/1-lm"}
BEFORE = {"bidirectional": "mntp", "causal": "causal-lm"}


def mntp(base: str, files: Files) -> bw.Recipe:
    """The MNTP stage of the laptop preset of `llm2vec`: 400 steps of 16 rows of 128 tokens."""
    return bw.recipes.llm2vec(base, LINES, "laptop", simcse=False, prompts={}, default_prompt=None)


def causal_lm(base: str, files: Files) -> bw.Recipe:
    """As many tokens of the same text, in rows of the same length, at the same rate, read causally."""
    stage = mntp(base, files).resolved()["stages"][0]
    stage |= {
        "name": "lm",
        "objective": {"kind": "causal_lm", "context": stage["objective"]["row_length"], "shifted": None},
        "data": {"source": LINES, "unit": "line"},
    }
    values = {"name": "causal-lm", "base": base, "direction": "causal", "stages": [stage]}
    return bw.Recipe.from_values(values)


def ladder(rung: int, direction: str) -> Make:
    """The laptop preset of `nv_embed` with mean pooling and the first so many changes."""

    def make(base: str, files: Files) -> bw.Recipe:
        library = {"name": "stdlib", "source": files.stdlib_rest, "instruction": EMBEDDED_INSTRUCTION}
        retrieval = [library, {"name": "scifact", "source": files.scifact_mined, "weight": 2.0}]
        others = [
            {"name": "nli", "source": files.nli, "weight": 0.15},
            {"name": "banking77", "source": files.banking, "weight": 0.3},
        ]
        texts = {"retrieval": {"tasks": retrieval, "mine": None}, "blended": {"tasks": [*retrieval, *others], "mine": None}}
        made = bw.recipes.nv_embed(
            base,
            texts,
            "laptop",
            order="by_task" if rung >= 2 else "two_stage",
            scale=20.0 if rung >= 1 else 50.0,
            pooling="mean",
            direction=direction,
            **({"add_bos": True} if rung >= 3 else {}),
        )
        return override_values(
            made, {"stages.retrieval.optim.steps": 50, "stages.blended.optim.steps": 40, "stages.*.save_every": SAVE_EVERY}
        )

    return make


RUNGS = ("as it was", "scale 20", "by task", "BOS", "adapted")


def larger(pooling: dict[str, Any] | str, direction: str, order: str = "by_task") -> Make:
    """All changes and more rows; order is "by_task", "two_stage" or "single" (one stage, in-batch by task)."""

    def make(base: str, files: Files) -> bw.Recipe:
        # about 40 % NLI, a quarter each of the library and of WikiSplit, a tenth SciFact
        first = [
            {"name": "stdlib", "source": files.stdlib_wide, "instruction": EMBEDDED_INSTRUCTION},
            {"name": "scifact", "source": files.scifact_wide, "weight": 1.4},
            {"name": "nli", "source": files.nli_wide, "weight": 0.19},
            {"name": "wikisplit", "source": files.wikisplit, "weight": 0.28, **_same_as("nli")},
        ]
        second = [*first[:3], {"name": "banking77", "source": files.banking_wide, "weight": 0.3}]
        texts = {"retrieval": {"tasks": first, "mine": None}, "blended": {"tasks": second, "mine": None}}
        if order == "single":
            texts = {"blended": {"tasks": [*first, second[-1]], "mine": None}}
        made = bw.recipes.nv_embed(
            base, texts, "laptop", order=order, scale=20.0, pooling=pooling, direction=direction, add_bos=True
        )
        return override_values(made, _sizes(order, trained_pooling=isinstance(pooling, dict)))

    return make


def _same_as(task: str) -> dict[str, str]:
    """The prompts of a symmetric task for rows that have another name."""
    prompts = task_prompts("nv_embed", task)
    return {"query_prompt": prompts.query, "document_prompt": prompts.query}


def _sizes(order: str, *, trained_pooling: bool) -> dict[str, Any]:
    """Rows, steps and rates of the stages."""
    retrieval = {"optim.steps": 150, "batch.size": 64, "objective.negatives": 1, "optim.lr": 5e-4}
    blended = {"optim.steps": 60, "batch.size": 32, "objective.negatives": 6, "optim.lr": 3e-4}
    plan = {"retrieval": retrieval, "blended": blended}
    if order == "single":
        # about the tokens of both
        plan = {"blended": {**blended, "optim.steps": 175, "optim.lr": 5e-4, "objective.in_batch": "unlabeled"}}
    changes = {f"stages.{stage}.{key}": value for stage, values in plan.items() for key, value in values.items()}
    changes |= {"stages.*.objective.max_length": 48, "stages.*.save_every": SAVE_EVERY}
    if trained_pooling:
        changes["stages.*.optim.pooling_lr"] = 1e-4
    return changes


POOLINGS: dict[str, dict[str, Any] | str] = {
    "mean": "mean",
    "EOS": "last",
    "latent": {"mode": "latent_attention", "latents": 64, "heads": 8, "head_width": 72, "start": "mean"},
}
DIRECTIONS = ("bidirectional", "causal")


def after(direction: str, make: Make, tokens: int) -> Training:
    """A training over the adapted base of its direction."""
    return Training(make, after=BEFORE[direction], adapter=ADAPTER[direction], tokens=tokens)


TRAININGS: dict[str, Training] = {
    "mntp": Training(mntp, tokens=ADAPTED_TOKENS),
    "causal-lm": Training(causal_lm, tokens=ADAPTED_TOKENS),
    **{
        f"ladder-{rung}-{direction}": Training(ladder(rung, direction), tokens=LADDER_TOKENS)
        for rung in range(4)
        for direction in DIRECTIONS
    },
    **{f"ladder-4-{direction}": after(direction, ladder(4, direction), LADDER_TOKENS) for direction in DIRECTIONS},
    **{
        f"larger-{name}-{direction}": after(direction, larger(pooling, direction), TABLE_TOKENS)
        for name, pooling in POOLINGS.items()
        for direction in DIRECTIONS
    },
    "larger-two-stages": after("bidirectional", larger("mean", "bidirectional", "two_stage"), TABLE_TOKENS),
    "larger-single": after("bidirectional", larger("mean", "bidirectional", "single"), TABLE_TOKENS),
}


def nv_dev_tasks(files: Files) -> Scored:
    """STS-B dev and descriptions of the library that the trainings of this file do not have."""
    same = task_prompts("nv_embed", "nli").query
    question = task_prompts("nv_embed", "stdlib", instruction=EMBEDDED_INSTRUCTION).query
    library = Retrieval(files.stdlib_dev, name="stdlib-dev", query_prompt=question, document_prompt="")
    return {
        "STS-B dev": (Similarity(DEV, name="STS-B dev", prompt=same), "spearman"),
        "retrieval (stdlib dev nDCG@10)": (library, "ndcg@10"),
    }


_LADDER = {f"{name}, {direction}": f"ladder-{rung}-{direction}" for rung, name in enumerate(RUNGS) for direction in DIRECTIONS}
_DIRECTIONS = {
    **{f"{name}, {direction}": f"larger-{name}-{direction}" for name in POOLINGS for direction in DIRECTIONS},
    "mean, in-batch off in stage 2": "larger-two-stages",
    "mean, one stage": "larger-single",
}
_CLAIMS = (
    ("mean, bidirectional", "mean, causal"),
    ("mean, bidirectional", "EOS, bidirectional"),
    ("latent, bidirectional", "mean, bidirectional"),
    ("latent, bidirectional", "latent, causal"),
    ("EOS, bidirectional", "EOS, causal"),
    ("mean, bidirectional", "mean, one stage"),
    ("mean, bidirectional", "mean, in-batch off in stage 2"),
)
TABLES: dict[str, Table] = {
    "ladder": Table(
        _LADDER,
        nv_dev_tasks,
        max_length=STDLIB_TOKENS,
        first=tuple(f"{name}, {direction}" for name in ("as it was", "by task", "adapted") for direction in DIRECTIONS),
        pairs=(
            *((f"{name}, bidirectional", f"{name}, causal") for name in RUNGS),
            *((f"{RUNGS[rung + 1]}, bidirectional", f"{RUNGS[rung]}, bidirectional") for rung in range(4)),
        ),
    ),
    "directions": Table(
        _DIRECTIONS,
        nv_dev_tasks,
        max_length=STDLIB_TOKENS,
        first=("mean, bidirectional", "mean, causal"),
        pairs=_CLAIMS,
    ),
    "test": Table(
        _DIRECTIONS,
        nv_tasks,
        max_length=STDLIB_TOKENS,
        average=NV_COLUMNS,
        first=("mean, bidirectional", "mean, causal"),
        pairs=_CLAIMS,
    ),
}
