"""NV-Embed: latent-attention pooling on a bidirectional decoder, for retrieval, then for all tasks.

Paper: https://arxiv.org/abs/2405.17428. NVIDIA published weights and modeling code, but no training
code. Stage 1 learns retrieval with in-batch negatives. Stage 2 blends all tasks into every batch
with in-batch negatives off, because in classification and clustering another row's text may be of
the same class. Temperature 0.02 (scale 50) is this project's choice, E5-mistral's value, because
the paper does not name one. Steps and weight decay are from memory of its appendix, and unverified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args
from urllib.parse import quote

from bothways.errors import InputError
from bothways.moved import old_names
from bothways.nearest import meant
from bothways.recipes.labeled import LabeledSources, labeled_rows, stored_prompts
from bothways.recipes.recipe_parts import (
    EMBEDDED_BASE,
    EMBEDDED_TEXTS,
    Preset,
    check_preset,
    finish_recipe,
)
from bothways.recipes.servable import FORM, is_servable
from bothways.training.recipe.recipe import Recipe

StageOrder = Literal["two_stage", "by_task", "reversed", "single", "single_in_batch"]

TEMPLATE = "nv_embed"
InBatch = bool | Literal["unlabeled"]
RETRIEVAL: tuple[str, InBatch] = ("retrieval", True)
BLENDED: tuple[str, InBatch] = ("blended", False)
#: Stages by order, each with its name and its in-batch negatives. The paper's comparison gives
#: 72.31 (two_stage), 71.85 (reversed), 71.94 (single) and 70.83 (single_in_batch) on MTEB.
#: "by_task" is this project's: FlagEmbedding switches in-batch negatives off by data set (its
#: no_in_batch_neg).
ORDERS: dict[str, tuple[tuple[str, InBatch], ...]] = {
    "two_stage": (RETRIEVAL, BLENDED),
    "by_task": (RETRIEVAL, ("blended", "unlabeled")),
    "reversed": (BLENDED, RETRIEVAL),
    "single": (BLENDED,),
    "single_in_batch": (("blended", True),),
}


class _Sizes(NamedTuple):
    """The choices of a preset.

    Rates and steps are those of the first and of the second stage, in this order.
    """

    pooling: dict[str, Any]
    adapter: dict[str, Any]
    rates: tuple[float, float]
    steps: tuple[int, int]
    warmup: int
    batch: int
    negatives: int
    max_length: int
    save_every: int


PRESETS = {
    # 512 latents, 8 heads as wide as the model; 128 rows of one positive and 7 hard negatives.
    "published": _Sizes(
        pooling={"mode": "latent_attention", "latents": 512, "heads": 8},
        adapter={"r": 16, "alpha": 32, "dropout": 0.1},
        rates=(2e-5, 1.5e-5),
        steps=(20_000, 18_000),
        warmup=500,
        batch=128,
        negatives=7,
        max_length=512,
        save_every=500,
    ),
    # The heads are narrow, together as wide as SmolLM2-135M's states: 5.4M parameters in the
    # pooling instead of 14.9M, in float32. The rates are llm2vec's for so few steps, in the paper's
    # proportion. The training loss falls faster than at 4e-4 (docs/log.md). LoRA dropout would take
    # a fifth of a CPU step.
    "laptop": _Sizes(
        pooling={"mode": "latent_attention", "latents": 64, "heads": 8, "head_width": 72},
        adapter={"r": 16, "alpha": 32, "dropout": 0.0},
        rates=(1e-3, 7.5e-4),
        steps=(120, 80),
        warmup=10,
        batch=16,
        negatives=2,
        max_length=64,
        save_every=40,
    ),
}


def nv_embed(
    base: str = EMBEDDED_BASE,
    texts: LabeledSources = EMBEDDED_TEXTS,
    preset: Preset = "published",
    *,
    order: StageOrder = "two_stage",
    retrieval: LabeledSources | None = None,
    scale: float = 50.0,
    servable: bool | None = None,
    dev: str | None = None,
    dev_every: int = 100,
    **overrides: object,
) -> Recipe:
    r"""Train latent-attention pooling on retrieval with in-batch negatives, then all tasks without.

    Queries get "Instruct: {task}\nQuery: ", documents nothing. In symmetric tasks both sides get it
    (see `labeled.labeled_rows`). Instruction and BOS are seen but never pooled. EOS is appended and
    pooled. The paper's rows have hard negatives. Rows without any get BM25's while the data is read
    (`data.mine`), because without in-batch negatives they would teach nothing.

    Args:
        base: decoder-only LLM, or the folder of an encoder to train further. NVIDIA's is
            Mistral-7B-v0.1.
        texts: labeled source(s), or a mapping with "retrieval" and "blended". One source serves
            both stages.
        preset: "published", or "laptop", which is sized for SmolLM2-135M on two CPU cores.
        order: "two_stage"; "by_task", in which rows without a label have in-batch negatives in the
            second stage; "reversed"; or one blended stage as long as both, with in-batch negatives
            off ("single") or on ("single_in_batch").
        retrieval: labeled source(s) of the retrieval stage. If given, they replace those in
            `texts`. On the command line: `--option retrieval=scifact`.
        scale: factor on the cosines of every stage, 1 / temperature. At 50 a row is learned once
            its positive leads by 0.1, and vectors of unrelated texts stay near each other.
            SimCSE uses 20. On the command line: `--option scale=20`.
        servable: train the form of `recipes.servable`, with mean pooling. If None, as the preset.
        dev: task specification, for example "sts:dev.tsv". Each stage keeps its best checkpoint by
            it.
        dev_every: optimizer steps between these evaluations.
        **overrides: any value of the recipe by its path, with `__` for the dot: `pooling="mean"`,
            `stages__retrieval__optim__lr=1e-4`.

    Raises:
        InputError: if the preset or order is unknown, if a stage has no data, or if an override
            does not fit.
    """
    check_preset(preset)
    if order not in get_args(StageOrder):
        raise InputError(
            f"order: {order!r} does not exist; {meant(order, get_args(StageOrder))}there are {', '.join(get_args(StageOrder))}"
        )
    sizes, plan = PRESETS[preset], ORDERS[order]
    if retrieval is not None and RETRIEVAL not in plan:
        raise InputError(
            f"retrieval: order {order!r} does not have a retrieval stage; give all rows as texts"
        )
    steps = sizes.steps if len(plan) > 1 else (sum(sizes.steps),)
    sources = {"retrieval": texts if retrieval is None else retrieval, "blended": texts}
    stages = [
        _stage(name, in_batch, scale, sizes, place, steps[place], sources[name])
        for place, (name, in_batch) in enumerate(plan)
    ]
    if retrieval is None and len(stages) > 1 and not _by_stage(texts):
        _leave_out_labels(stages)
    named = "nv_embed" if order == "two_stage" else f"nv_embed-{order}"
    values: dict[str, Any] = {
        "name": named if preset == "published" else f"{named}-{preset}",
        "base": str(base),
        "direction": "bidirectional",
        "pooling": dict(sizes.pooling),
        "max_length": 512,
        # NVIDIA's code zeroes len(instruction) positions without counting BOS, so before passages
        # it pools BOS, an off-by-one error.
        "pool_bos": False,
        "add_eos": True,
        "prompts": stored_prompts(stage["data"] for stage in stages),
        "stages": stages,
    }
    if is_servable(servable, preset):
        values |= {**FORM, "pooling": "mean"}
    return finish_recipe(values, overrides, dev=_instructed(dev, stages), dev_every=dev_every)


def _leave_out_labels(stages: Sequence[Mapping[str, Any]]) -> None:
    """Leave rows with a class out of the retrieval stage, in place.

    This is for one source that serves both stages. Classes are not retrieval.
    """
    for stage in stages:
        if stage["name"] == RETRIEVAL[0]:
            stage["data"].setdefault("leave_out_labeled", True)


def _by_stage(texts: LabeledSources) -> bool:
    return isinstance(texts, Mapping) and not texts.keys() & {"source", "tasks"}


def _instructed(dev: str | None, stages: Sequence[Mapping[str, Any]]) -> str | None:
    """Add to an STS metric the instruction of the symmetric rows in training.

    This applies if the metric does not name one and the rows have a single one.
    """
    if dev is None or not dev.startswith("sts:") or "prompt=" in dev:
        return dev
    tasks = [task for stage in stages for task in stage["data"].get("tasks") or (stage["data"],)]
    pairs = {
        (str(task.get("name", "")), task.get("query_prompt")) for task in tasks if _symmetric(task)
    }
    prompts = {prompt for name, prompt in pairs if name.startswith("sts")} or {
        prompt for _, prompt in pairs
    }
    if len(prompts) != 1:
        return dev
    prompt = quote(str(prompts.pop()), safe="")
    return f"{dev}{'&' if '?' in dev else '?'}prompt={prompt}"


def _symmetric(task: Mapping[str, Any]) -> bool:
    return bool(task.get("query_prompt")) and task.get("query_prompt") == task.get(
        "document_prompt"
    )


def _stage(
    name: str,
    in_batch: InBatch,
    scale: float,
    sizes: _Sizes,
    place: int,
    steps: int,
    texts: LabeledSources,
) -> dict[str, Any]:
    return {
        "name": name,
        "objective": {
            "kind": "supervised",
            "scale": float(scale),
            "max_length": sizes.max_length,
            "negatives": sizes.negatives,
            "in_batch": in_batch,
        },
        "data": labeled_rows(
            texts, name, template=TEMPLATE, batches="blended", mine={"negatives": 7}
        ),
        "batch": {"size": sizes.batch},
        "optim": {
            "lr": sizes.rates[place],
            "weight_decay": 0.03,
            "steps": steps,
            "warmup_steps": sizes.warmup,
        },
        "adapter": dict(sizes.adapter),
        "save_every": sizes.save_every,
        "log_every": 10,
    }


__getattr__ = old_names(__name__)
