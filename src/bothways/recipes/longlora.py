"""LongLoRA: extends a base LLM to a longer context, and makes encoders for long documents from it.

Training runs in shifted groups. Paper: https://arxiv.org/abs/2309.12307. The values are those of
its section 4.1 and of the released scripts (dvlab-research/LongLoRA @d4eb344), which differ from
the paper only in the betas (the scripts have the Trainer's defaults).
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from bothways.errors import InputError
from bothways.nearest import meant
from bothways.recipes.compose import compose
from bothways.recipes.entries import TEXT_ENCODERS, find
from bothways.recipes.recipe_parts import (
    EMBEDDED_BASE,
    EMBEDDED_TEXTS,
    SENTENCE_KINDS,
    Preset,
    TextSources,
    check_preset,
    data,
    finish_recipe,
)
from bothways.training.recipe.recipe import Recipe

Train = Literal["lora+", "lora", "full"]
Interpolation = Literal["linear", "dynamic", "yarn"]

STAGE = "longlora"
#: Rows per optimizer step: 1 x 8 accumulation x 8 GPUs.
ROWS = 64
CONTEXT = {"published": 8192, "laptop": 16384}
#: The paper's type, and one that does not need a thousand steps: with yarn and no training at all,
#: SmolLM2-135M reads 16,384 tokens with perplexity 20 (docs/results/).
ROPE: dict[Preset, Interpolation] = {"published": "linear", "laptop": "yarn"}


def longlora(
    base: str = EMBEDDED_BASE,
    texts: TextSources = EMBEDDED_TEXTS,
    preset: Preset = "published",
    *,
    context: int | None = None,
    train: Train = "lora+",
    shifted: bool = True,
    rope: Interpolation | None = None,
    processes: int = 1,
    documents: TextSources | None = None,
    then: str | Recipe | None = None,
    text_length: int | None = None,
    dev: str | None = None,
    **overrides: object,
) -> Recipe:
    """Train a causal language model on long rows. `then` makes an encoder of it.

    Without `then` the result is a base LLM again.

    Args:
        base: decoder-only LLM with rotary positions: hub id, folder, .gguf file or embedded name.
        texts: source(s) of documents, or sources by stage name ("longlora", and the stages of
            `then`). They are joined with EOS and cut. A .txt file is one document.
        preset: "published", or "laptop": SmolLM2-135M from its 8,192 tokens to 16,384 on two CPU
            cores.
        context: tokens of a row and of the finished model. If None, 8,192 ("published"), the
            smallest published context, or 16,384 ("laptop"). The paper goes up to 100k with more
            GPUs (`training.parallel.sharding` splits the model over them).
        train: "lora+" (LoRA on attention, with embeddings and norms in full), "lora", or "full"
            (every weight), as the paper compares.
        shifted: train with S²-Attn. If False, use full attention.
        rope: type of interpolation if the base has fewer positions than the context. If None,
            "linear" as published, and "yarn" (arXiv 2309.00071) for a laptop's few steps, because
            it disturbs the base least.
        processes: number of processes of the launch. Micro-batches of one row are accumulated to 64
            rows over all of them.
        documents: source(s) of the documents, if `texts` holds labeled rows for the stages of
            `then`.
        then: recipe to continue with, by name ("llm2vec", "nv_embed") or as a recipe made with its
            own options. MNTP then sees rows as long as the tokens of its step, up to the context.
        text_length: tokens of a text in the contrastive stages of `then`, up to the context. If
            None, that recipe's length (128 and 512 published), so longer documents are learned only
            from their beginnings. A step costs more in proportion to the length of its texts. Its
            memory is that of one text.
        dev: task specification, for example "sts:dev.tsv". The stages of a `then` given by name
            keep their best checkpoint by it.
        **overrides: any value of the recipe by its path, with `__` for the dot: `seed=1`,
            `stages__longlora__optim__lr=1e-4`.

    Raises:
        InputError: if the preset, way of training or recipe is unknown, if the number of processes
            does not divide 64, if no stage uses text_length or it exceeds the context, or if an
            override does not fit.
    """
    check_preset(preset)
    _check(train, shifted, processes, context, text_length, then)
    length = CONTEXT[preset] if context is None else context
    _check_text_length(text_length, length)
    source = data(texts if documents is None else documents, STAGE, short=False)
    values = _values(base, preset, length, train, shifted, ROPE[preset] if rope is None else rope)
    values["stages"][0] |= {
        "data": source,
        **(_published(processes) if preset == "published" else _laptop()),
    }
    if then is None:
        return finish_recipe(values, overrides, dev=dev, dev_every=1)
    second = _second(then, base=base, texts=texts, preset=preset, dev=dev)
    values = compose(
        Recipe.from_values(values, where=f"recipe {STAGE}"), second, max_length=length
    ).resolved()
    values["stages"] = _continued(values["stages"], second.name, length, text_length)
    return finish_recipe(values, overrides, dev=None, dev_every=1)


def _check(
    train: str,
    shifted: object,
    processes: object,
    context: object,
    text_length: object,
    then: object,
) -> None:
    """Raise InputError if an argument has a wrong type or value."""
    for key, value in (
        ("processes", processes),
        ("context", context),
        ("text_length", text_length),
    ):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise InputError(f"{key}: must be a whole number (got {value!r})")
    if not isinstance(shifted, bool):
        raise InputError(f"shifted: must be true or false (got {shifted!r})")
    if text_length is not None and then is None:
        raise InputError(
            "text_length: tokens of a text in the stages of `then`, which is not given"
        )
    if then is not None and not isinstance(then, (str, Recipe)):
        raise InputError(f"then: must be the name of a recipe, or a Recipe (got {then!r})")
    if train not in get_args(Train):
        raise InputError(
            f"train: {train!r} does not exist; {meant(train, get_args(Train))}there are {', '.join(get_args(Train))}"
        )
    if not isinstance(processes, int) or not 1 <= processes <= ROWS or ROWS % processes:
        raise InputError(f"processes: must divide the batch of {ROWS} rows (got {processes})")


def _check_text_length(text_length: int | None, context: int) -> None:
    if text_length is not None and not 1 <= text_length <= context:
        raise InputError(
            f"text_length: tokens of a text in the stages of `then`, 1 to the context of {context} (got {text_length})"
        )


def _values(
    base: object, preset: Preset, context: int, train: Train, shifted: bool, rope: str
) -> dict[str, Any]:
    """Build the values of the recipe, without data, batch and optimizer of its stage."""
    return {
        "name": STAGE if preset == "published" else f"{STAGE}-{preset}",
        "base": str(base),
        "direction": "causal",
        "max_length": context,
        "rope": {"type": rope, "context": context},
        "stages": [
            {
                "name": STAGE,
                "objective": {
                    "kind": "causal_lm",
                    "context": context,
                    **({} if shifted else {"shifted": None}),
                },
                "adapter": _adapter(train),
                "gradient_checkpointing": True,
            }
        ],
    }


def _continued(
    stages: list[dict[str, Any]], recipe: str, context: int, text_length: int | None
) -> list[dict[str, Any]]:
    """Give the stages of `then` longer rows.

    Raises:
        InputError: if no stage uses the text length.
    """
    if text_length is not None and not any(
        each["objective"]["kind"] in SENTENCE_KINDS for each in stages
    ):
        raise InputError(
            f"text_length: recipe {recipe} does not have a contrastive stage to use it; leave it out"
        )
    return [_lengthened(each, context, text_length) for each in stages]


def _second(then: Recipe | str, **choices: object) -> Recipe:
    """Make the recipe that follows, or return the one that the caller gave."""
    if isinstance(then, Recipe):
        if choices["dev"] is not None:
            raise InputError(
                "dev: is only valid here if `then` is a name; otherwise give dev to the recipe that you pass as `then`"
            )
        return then
    if then == STAGE:
        raise InputError(
            "then: two stages are named 'longlora'; give another recipe, for example then=\"llm2vec\""
        )
    return find(then, TEXT_ENCODERS).build(**choices)


def _adapter(train: Train) -> dict[str, Any] | None:
    if train == "full":
        return None
    adapter: dict[str, Any] = {"r": 8, "alpha": 16.0, "dropout": 0.0, "targets": "attention"}
    return adapter | ({"train_whole": ("embed", "norm")} if train == "lora+" else {})


def _published(processes: int) -> dict[str, Any]:
    return {
        "batch": {"size": 1, "accumulation": ROWS // processes},
        # Warm-up of 20 steps, then constant: "constant_with_warmup" in the scripts.
        "optim": {
            "lr": 2e-5,
            "betas": (0.9, 0.95),
            "weight_decay": 0.0,
            "schedule": "constant",
            "warmup_steps": 20,
            "steps": 1000,
        },
        "save_every": 100,
        "log_every": 10,
    }


def _laptop() -> dict[str, Any]:
    # A step is one row of 16,384 tokens, so the rate suits few, small steps. Both are choices for a
    # CPU, not measured optima.
    return {
        "batch": {"size": 1},
        "optim": {
            "lr": 2e-4,
            "betas": (0.9, 0.95),
            "schedule": "constant",
            "warmup_steps": 5,
            "steps": 40,
        },
        "save_every": 10,
        "log_every": 1,
    }


def _lengthened(stage: dict[str, Any], context: int, text_length: int | None) -> dict[str, Any]:
    """Give a stage of `then` longer rows.

    MNTP keeps its number of tokens per step in longer rows, so it learns from far tokens too.
    Contrastive stages get longer texts on request. Their activations are computed twice, because
    those of a long text would not fit into memory.
    """
    objective, batch = stage["objective"], stage["batch"]
    if objective["kind"] == "mntp":
        tokens = objective["row_length"] * batch["size"]
        row = min(context, tokens)
        # In rows of whole documents: with an EOS after every line of a book, far tokens would be
        # unrelated.
        data = {**stage["data"], "unit": stage["data"]["unit"] or "auto"}
        rows = {**objective, "row_length": row}
        return {
            **stage,
            "objective": rows,
            "batch": {**batch, "size": max(1, tokens // row)},
            "data": data,
        }
    if objective["kind"] in SENTENCE_KINDS and text_length is not None:
        return {
            **stage,
            "objective": {**objective, "max_length": text_length},
            "gradient_checkpointing": True,
        }
    return stage
