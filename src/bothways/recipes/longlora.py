"""LongLoRA: a base LLM brought to a longer context, trained in shifted groups; and encoders for long documents made of the result.

Paper: https://arxiv.org/abs/2309.12307. Values are those of its section 4.1 and of the released scripts (dvlab-research/LongLoRA
@d4eb344), which differ from the paper in the betas alone (Trainer's defaults there).
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from bothways.errors import InputError
from bothways.recipes.base import EMBEDDED_BASE, EMBEDDED_TEXTS, SENTENCE_KINDS, Preset, Texts, check_preset, data, finish
from bothways.recipes.compose import compose
from bothways.training.run import Recipe

Train = Literal["lora+", "lora", "full"]
Interpolation = Literal["linear", "dynamic", "yarn"]

STAGE = "longlora"
#: Rows per optimiser step: 1 x 8 accumulation x 8 GPUs.
ROWS = 64
CONTEXT = {"published": 8192, "laptop": 16384}
#: The paper's; and what needs no thousand steps: before any, SmolLM2-135M reads 16,384 tokens with perplexity 20 (docs/results.md).
ROPE: dict[Preset, Interpolation] = {"published": "linear", "laptop": "yarn"}


def longlora(
    base: str = EMBEDDED_BASE,
    texts: Texts = EMBEDDED_TEXTS,
    preset: Preset = "published",
    *,
    context: int | None = None,
    train: Train = "lora+",
    shifted: bool = True,
    rope: Interpolation | None = None,
    processes: int = 1,
    documents: Texts | None = None,
    then: str | Recipe | None = None,
    text_length: int | None = None,
    dev: str | None = None,
    **overrides: Any,
) -> Recipe:
    """Causal language modelling on long rows; what it leaves is a base LLM again, or with `then` an encoder.

    Args:
        base: decoder-only LLM with rotary positions: hub id, folder, .gguf file or embedded name.
        texts: source(s) of documents, or by stage name ("longlora", and the stages of `then`). They are joined with EOS and cut; a
            .txt is one document.
        preset: "published", or "laptop": SmolLM2-135M from its 8,192 tokens to 16,384 on two CPU cores.
        context: tokens of a row and of the finished model; 8,192 published at the least, up to 100k with more GPUs (over which
            `training.sharding` splits the model).
        train: "lora+" (LoRA on attention, embeddings and norms whole), "lora", or "full" (every weight), as the paper compares.
        shifted: train with S²-Attn; false for full attention.
        rope: how positions are interpolated where the base has fewer than the context; linear as published, for a laptop's few steps
            yarn (arXiv 2309.00071), which disturbs the base least.
        processes: of the launch; micro-batches of one row are accumulated to 64 rows over all of them.
        documents: source(s) of the documents, where `texts` are what the stages of `then` learn from: labelled rows.
        then: the recipe to go on with, by name ("llm2vec", "nv_embed") or as made with choices of its own. MNTP then sees rows as long
            as its step has tokens, up to the context.
        text_length: tokens of a text in the contrastive stages of `then`, up to the context; None: as that recipe has it (128 and 512
            published), which for documents longer than that learns from their beginnings alone. A step costs as much more as its texts
            are longer; its memory is that of one text.
        dev: task specification by which the stages of a `then` given by name keep their best checkpoint.
        **overrides: any value of the recipe by its path, `__` for the dot: `seed=1`, `stages__longlora__optim__lr=1e-4`.

    Raises:
        InputError: unknown preset, way of training or recipe, processes that do not divide 64, a text_length without a stage that takes
            it or beyond the context, or an override that does not fit.
    """
    check_preset(preset)
    for key, value in (("processes", processes), ("context", context), ("text_length", text_length)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise InputError(f"{key}: must be a whole number (got {value!r})")
    if not isinstance(shifted, bool):
        raise InputError(f"shifted: must be true or false (got {shifted!r})")
    if text_length is not None and then is None:
        raise InputError("text_length: tokens of a text in the stages of `then`, which is not given")
    if then is not None and not isinstance(then, (str, Recipe)):
        raise InputError(f"then: must be the name of a recipe, or one as made (got {then!r})")
    if train not in get_args(Train):
        raise InputError(f"train: {train!r} does not exist; there are {', '.join(get_args(Train))}")
    if not 1 <= processes <= ROWS or ROWS % processes:
        raise InputError(f"processes: must divide the batch of {ROWS} rows (got {processes})")
    length = CONTEXT[preset] if context is None else context
    if text_length is not None and not 1 <= text_length <= length:
        raise InputError(
            f"text_length: tokens of a text in the stages of `then`, 1 to the context of {length} (got {text_length})"
        )
    stage = _published(processes) if preset == "published" else _laptop()
    stage |= {
        "name": STAGE,
        "objective": {"kind": "causal_lm", "context": length, **({} if shifted else {"shifted": None})},
        "adapter": _adapter(train),
        "data": data(texts if documents is None else documents, STAGE, short=False),
        "gradient_checkpointing": True,
    }
    values: dict[str, Any] = {
        "name": STAGE if preset == "published" else f"{STAGE}-{preset}",
        "base": str(base),
        "direction": "causal",
        "max_length": length,
        "rope": {"type": ROPE[preset] if rope is None else rope, "context": length},
        "stages": [stage],
    }
    if then is None:
        return finish(values, overrides, dev=dev, dev_every=1)
    if dev is not None and isinstance(then, Recipe):
        raise InputError("dev: give it to the recipe that follows when that is made; here it goes with a recipe's name")
    from bothways.recipes import get

    second = get(then).build(base=base, texts=texts, preset=preset, dev=dev) if isinstance(then, str) else then
    values = compose(Recipe.from_values(values, where=f"recipe {STAGE}"), second, max_length=length).resolved()
    stages = [_lengthened(each, length, text_length) for each in values["stages"]]
    if text_length is not None and not any(each["objective"]["kind"] in SENTENCE_KINDS for each in stages):
        raise InputError(f"text_length: recipe {second.name} has no contrastive stage that takes it; leave it out")
    values["stages"] = stages
    return finish(values, overrides, dev=None, dev_every=1)


def _adapter(train: Train) -> dict[str, Any] | None:
    if train == "full":
        return None
    adapter: dict[str, Any] = {"r": 8, "alpha": 16.0, "dropout": 0.0, "targets": "attention"}
    return adapter | ({"train_whole": ("embed", "norm")} if train == "lora+" else {})


def _published(processes: int) -> dict[str, Any]:
    return {
        "batch": {"size": 1, "accumulation": ROWS // processes},
        # warm-up of 20 steps, then constant: "constant_with_warmup" in the scripts
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
    # one row of 16,384 tokens is a step, so the rate is that of few, small steps; both are choices for a CPU, not measured optima
    return {
        "batch": {"size": 1},
        "optim": {"lr": 2e-4, "betas": (0.9, 0.95), "schedule": "constant", "warmup_steps": 5, "steps": 40},
        "save_every": 10,
        "log_every": 1,
    }


def _lengthened(stage: dict[str, Any], context: int, text_length: int | None) -> dict[str, Any]:
    """A stage of `then` with longer rows.

    MNTP at the same number of tokens per step, so that far tokens are learned from too. Contrastive stages where it is asked for, with
    activations computed twice: of a long text they would not fit.
    """
    objective, batch = stage["objective"], stage["batch"]
    if objective["kind"] == "mntp":
        tokens = objective["row_length"] * batch["size"]
        row = min(context, tokens)
        # of whole documents: with an EOS behind every line of a book far tokens would have nothing to do with each other
        data = {**stage["data"], "unit": stage["data"]["unit"] or "auto"}
        rows = {**objective, "row_length": row}
        return {**stage, "objective": rows, "batch": {**batch, "size": max(1, tokens // row)}, "data": data}
    if objective["kind"] in SENTENCE_KINDS and text_length is not None:
        return {**stage, "objective": {**objective, "max_length": text_length}, "gradient_checkpointing": True}
    return stage
