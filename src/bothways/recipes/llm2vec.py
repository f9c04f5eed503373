"""LLM2Vec: bidirectional attention, MNTP, then unsupervised SimCSE, supervised learning, or both.

Paper: https://arxiv.org/abs/2404.05961. The values are those of the released
train_configs/{mntp,simcse,supervised}/*.json (McGill-NLP/llm2vec @312adcf). Keys absent there have
the Hugging Face Trainer's defaults, with which the authors ran.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bothways.encoder.folder.llm2vec_texts import JOINT, text_wrapper
from bothways.errors import InputError
from bothways.objectives.published import published_masking
from bothways.recipes.labeled import LabeledSources, labeled_rows, stored_prompts
from bothways.recipes.recipe_parts import (
    EMBEDDED_BASE,
    EMBEDDED_TEXTS,
    Preset,
    TextSources,
    check_preset,
    data,
    finish_recipe,
)
from bothways.recipes.servable import FORM, is_servable
from bothways.training.recipe.recipe import Recipe

# lora_r is 16 in the configs; alpha = 2 r, dropout 0.05 and the seven projections are in
# experiments/run_*.py.
ADAPTER = {"r": 16, "dropout": 0.05}
# The instruction and a colon, as in the authors' evaluation. Their training data has a semicolon
# instead (`training.recipe.llm2vec_json`).
TEMPLATE = "llm2vec"


def llm2vec(
    base: str = EMBEDDED_BASE,
    texts: TextSources = EMBEDDED_TEXTS,
    preset: Preset = "published",
    *,
    mntp: bool = True,
    simcse: bool | None = None,
    supervised: LabeledSources | None = None,
    servable: bool | None = None,
    dev: str | None = None,
    dev_every: int = 25,
    **overrides: object,
) -> Recipe:
    """Train MNTP and then unsupervised SimCSE, or with labeled rows MNTP and then supervised.

    With labeled rows, SimCSE runs between the two only on request. Each stage starts with a fresh
    adapter on the encoder of the stage before, into which that stage's adapter has been merged. The
    authors' full supervised models continue SimCSE's adapter instead. Without SimCSE, which was
    better on three of their four bases, both are the same.

    Args:
        base: decoder-only LLM: hub id, folder, .gguf file or embedded name. For later stages alone,
            it may be the folder of an encoder. Masking follows the values that LLM2Vec published
            for its family (Mistral 80 % all-mask, Llama 20 % BERT style). Families without a
            published run get the Llama values.
        texts: source(s) of unlabeled text, or a mapping with "mntp" and "simcse".
        preset: "published", or "laptop", which is sized for SmolLM2-135M on two CPU cores.
        mntp: run MNTP. Switch it off for a base that has already had it.
        simcse: run unsupervised SimCSE. If None, it runs unless there are labeled rows.
        supervised: labeled source(s), see `labeled.labeled_rows`. Batches are homogeneous: all rows
            of a batch belong to one task.
        servable: if True, train the form that every server computes, see `recipes.servable`. If
            None, the preset's own form. On the command line: `--option servable=true`.
        dev: task specification (`sts:FILE`, `stdlib`, …). The contrastive stages keep their best
            checkpoint by it.
        dev_every: optimizer steps between these evaluations.
        **overrides: any value of the recipe by its path, with `__` for the dot: `seed=1`,
            `stages__mntp__optim__lr=1e-3`.

    Raises:
        InputError: if the preset is unknown, if no stage is left, or if an override does not fit.
    """
    check_preset(preset)
    unlabeled = {"mntp": mntp, "simcse": supervised is None if simcse is None else simcse}
    sources = {
        name: data(texts, name, short=name == "simcse") for name, on in unlabeled.items() if on
    }
    if supervised is not None:
        sources["supervised"] = labeled_rows(
            supervised, "supervised", template=TEMPLATE, batches="homogeneous"
        )
    if not sources:
        raise InputError(
            "llm2vec: no stage is left; switch mntp or simcse on, or give labeled rows (supervised)"
        )
    title = "llm2vec" if supervised is None else "llm2vec-supervised"
    values: dict[str, Any] = {
        "name": title if preset == "published" else f"{title}-{preset}",
        "base": str(base),
        "direction": "bidirectional",
        "pooling": "mean",
        "max_length": 512,
        "stages": _stages(sources, base, preset),
        **_texts(base, preset, sources.get("supervised"), is_servable(servable, preset)),
    }
    return finish_recipe(values, overrides, dev=dev, dev_every=dev_every)


def _stages(
    sources: Mapping[str, dict[str, Any]], base: str, preset: Preset
) -> list[dict[str, Any]]:
    made = _published(base) if preset == "published" else _laptop(base)
    return [
        {
            "name": name,
            **made[name],
            "adapter": ADAPTER | made[name].get("adapter", {}),
            "data": source,
        }
        for name, source in sources.items()
    ]


def _texts(
    base: str, preset: Preset, labeled: dict[str, Any] | None, servable: bool
) -> dict[str, Any]:
    """Build the values that say how texts are wrapped, and which prompts they have."""
    # `LLM2Vec.encode` wraps the texts of chat models, recognized by their base's name, and never
    # pools BOS.
    around = text_wrapper(base)
    values: dict[str, Any] = {
        "pool_bos": False,
        "wrapper": [around.prefix, around.suffix] if around.prefix else None,
    }
    if preset == "published":
        values["joint"] = JOINT
    if labeled is not None:
        values["prompts"] = stored_prompts([labeled])
    if servable:
        return values | FORM
    if preset == "laptop":
        values["prompts"] = LINE_FEED | values.get("prompts", {})
        values["default_prompt"] = "default"
    return values


def _mntp(base: str) -> dict[str, Any]:
    masking = published_masking(base)
    if masking is None:
        return {"kind": "mntp"}
    return {
        "kind": "mntp",
        "mask_probability": masking.probability,
        "style": masking.style,
        "mask_token": masking.mask_token,
    }


# simcse_dropout 0.3 is the model's attention dropout. loss_scale is 20.
SIMCSE = {"kind": "contrastive", "scale": 20.0, "attention_dropout": 0.3}
# A decoder puts outlier activations on the first token of a text, and mean pooling counts them as
# meaning. A token before every text absorbs them, and as a prompt it is not pooled. LLM2Vec's bases
# have BOS for this, but SmolLM2 does not have one. A line feed is an ordinary token to every
# tokenizer, so sentence-transformers excludes it from pooling too. It does not exclude a special
# token.
LINE_FEED = {"default": "\n"}
# HardNegativeNLLLoss: all in-batch positives and hard negatives are columns, with one hard negative
# per row and loss_scale 50.
SUPERVISED = {"kind": "supervised", "scale": 50.0, "negatives": 1}


def _published(base: str) -> dict[str, dict[str, Any]]:
    return {
        "mntp": {
            "objective": {**_mntp(base), "row_length": 512},
            "batch": {"size": 32},
            # The configs have no learning_rate, so it is the Trainer's 5e-5 (confirmed in issue 76
            # of the authors' tracker). The rate decays over three epochs although training stops at
            # step 1000.
            "optim": {"lr": 5e-5, "epochs": 3.0, "stop_after_steps": 1000},
            "gradient_checkpointing": True,
            "save_every": 200,
            "log_every": 10,
        },
        "simcse": {
            # run_simcse.py trains on bare texts, though `encode` wraps those of chat models.
            "objective": {**SIMCSE, "max_length": 128, "plain": True},
            "batch": {"size": 128},
            "optim": {"lr": 3e-5, "epochs": 3.0, "stop_after_steps": 1000},
            # Published with gradient checkpointing. Here the gradient cache bounds memory, and both
            # together would compute everything twice.
            "gradient_checkpointing": False,
            "save_every": 200,
            "log_every": 10,
        },
        "supervised": {
            # In LLM2Vec's code all texts of other rows are negatives, even equal ones. Here known
            # answers are left out. Set false_negatives: null to do as LLM2Vec does.
            "objective": {**SUPERVISED, "max_length": 512},
            # The authors use 64 on each of 8 GPUs and gather the texts. On 8 processes, set 64.
            "batch": {"size": 512},
            "optim": {"lr": 2e-4, "warmup_steps": 300, "epochs": 3.0, "stop_after_steps": 1000},
            "save_every": 200,
            "log_every": 10,
        },
    }


def _laptop(base: str) -> dict[str, dict[str, Any]]:
    # Fewer steps at a higher rate on shorter rows: at 135M parameters a LoRA of rank 16 tolerates a
    # rate of 1e-3 (docs/log.md). LoRA dropout would take a fifth of a CPU step. With a scale of 20,
    # the model separates 64 short texts within 40 steps and then learns nothing more. With 10 it
    # continues to learn.
    without_dropout = {"adapter": {"dropout": 0.0}}
    return {
        "mntp": {
            "objective": {**_mntp(base), "row_length": 128},
            "batch": {"size": 16},
            "optim": {"lr": 1e-3, "steps": 400, "warmup_steps": 20},
            "save_every": 50,
            "log_every": 10,
            **without_dropout,
        },
        "simcse": {
            "objective": {**SIMCSE, "scale": 10.0, "max_length": 32, "graph_tokens": 4096},
            "batch": {"size": 64},
            "optim": {"lr": 1e-3, "steps": 150},
            "save_every": 25,
            "log_every": 5,
            **without_dropout,
        },
        # Small data repeats its texts within a batch, so false negatives are left out. Untuned.
        "supervised": {
            "objective": {**SUPERVISED, "max_length": 64, "graph_tokens": 4096},
            "batch": {"size": 32},
            "optim": {"lr": 1e-3, "steps": 150, "warmup_steps": 10},
            "save_every": 25,
            "log_every": 5,
            **without_dropout,
        },
    }
