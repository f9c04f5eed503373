"""LLM2Vec without labels: bidirectional attention, MNTP, then SimCSE.

Paper: https://arxiv.org/abs/2404.05961. Values are those of the released train_configs/mntp/*.json and train_configs/simcse/*.json
(McGill-NLP/llm2vec @312adcf); keys absent there have the Hugging Face Trainer's defaults, with which the authors ran.
"""

from __future__ import annotations

from typing import Any

from bothways.objectives.published import published_masking
from bothways.recipes.base import EMBEDDED_BASE, EMBEDDED_TEXTS, Preset, Texts, check_preset, data, finish
from bothways.training.run import Recipe

# lora_r 16 in the configs; alpha = 2 r, dropout 0.05 and the seven projections in experiments/run_*.py
ADAPTER = {"r": 16, "dropout": 0.05}


def llm2vec(
    base: str = EMBEDDED_BASE,
    texts: Texts = EMBEDDED_TEXTS,
    preset: Preset = "published",
    *,
    dev: str | None = None,
    dev_every: int = 25,
    **overrides: Any,
) -> Recipe:
    """MNTP, then unsupervised SimCSE.

    Args:
        base: decoder-only LLM: hub id, folder, .gguf file or embedded name. Masking follows what LLM2Vec published for its family
            (Mistral 80 % all-mask, Llama 20 % BERT style), and the Llama values for families without a published run.
        texts: source(s) of unlabelled text, or a mapping with "mntp" and "simcse".
        preset: "published", or "laptop": sized for SmolLM2-135M on two CPU cores.
        dev: task specification (`sts:FILE`, `stdlib`, …) by which SimCSE keeps its best checkpoint.
        dev_every: optimiser steps between these evaluations.
        **overrides: any value of the recipe by its path, `__` for the dot: `seed=1`, `stages__mntp__optim__lr=1e-3`.

    Raises:
        InputError: unknown preset, or an override that does not fit.
    """
    check_preset(preset)
    masking = published_masking(base)
    mntp: dict[str, Any] = {"kind": "mntp"}
    if masking is not None:
        mntp |= {"mask_probability": masking.probability, "style": masking.style, "mask_token": masking.mask_token}
    # simcse_dropout 0.3 is the model's attention dropout; loss_scale 20
    simcse = {"kind": "contrastive", "scale": 20.0, "attention_dropout": 0.3}
    stages = (_published if preset == "published" else _laptop)(mntp, simcse)
    for stage, short in zip(stages, (False, True)):
        stage |= {"adapter": dict(ADAPTER) | stage.pop("adapter", {}), "data": data(texts, stage["name"], short=short)}
    name = "llm2vec" if preset == "published" else f"llm2vec-{preset}"
    values = {
        "name": name,
        "base": str(base),
        "direction": "bidirectional",
        "pooling": "mean",
        "max_length": 512,
        "stages": stages,
    }
    return finish(values, overrides, dev=dev, dev_every=dev_every)


def _published(mntp: dict[str, Any], simcse: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": "mntp",
            "objective": {**mntp, "row_length": 512},
            "batch": {"size": 32},
            # no learning_rate in the configs: the Trainer's 5e-5 (issue 76 of the authors' tracker confirms it); the rate decays
            # over three epochs although training stops at step 1000
            "optim": {"lr": 5e-5, "epochs": 3.0, "stop_after_steps": 1000},
            "gradient_checkpointing": True,
            "save_every": 200,
            "log_every": 10,
        },
        {
            "name": "simcse",
            "objective": {**simcse, "max_length": 128},
            "batch": {"size": 128},
            "optim": {"lr": 3e-5, "epochs": 3.0, "stop_after_steps": 1000},
            # published with gradient checkpointing; here the gradient cache bounds memory, and both would compute everything twice
            "gradient_checkpointing": False,
            "save_every": 200,
            "log_every": 10,
        },
    ]


def _laptop(mntp: dict[str, Any], simcse: dict[str, Any]) -> list[dict[str, Any]]:
    # Fewer, hotter steps on shorter rows: a LoRA of rank 16 bears a rate of 1e-3 at 135M parameters (docs/log.md). LoRA dropout
    # would be a fifth of a CPU step.
    without_dropout = {"adapter": {"dropout": 0.0}}
    return [
        {
            "name": "mntp",
            "objective": {**mntp, "row_length": 128},
            "batch": {"size": 16},
            "optim": {"lr": 1e-3, "steps": 400, "warmup_steps": 20},
            "save_every": 50,
            "log_every": 10,
            **without_dropout,
        },
        {
            "name": "simcse",
            "objective": {**simcse, "max_length": 32, "graph_tokens": 4096},
            "batch": {"size": 64},
            "optim": {"lr": 1e-3, "steps": 150},
            "save_every": 25,
            "log_every": 5,
            **without_dropout,
        },
    ]
