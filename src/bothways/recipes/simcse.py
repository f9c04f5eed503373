"""Unsupervised SimCSE on its own: on encoder-only backbones as published, on decoders as the second stage of LLM2Vec.

Paper: https://arxiv.org/abs/2104.08821. Values: its appendix A and the released scripts (princeton-nlp/SimCSE @49fa580).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from bothways.errors import InputError
from bothways.recipes.base import EMBEDDED_BASE, EMBEDDED_TEXTS, Preset, Texts, check_preset, data, finish
from bothways.recipes.llm2vec import ADAPTER
from bothways.training.run import Recipe

Backbone = Literal["auto", "encoder", "decoder"]

#: Batch size and learning rate of unsupervised SimCSE by what the base's name contains (paper, table A.1); first match.
PUBLISHED = (("roberta-large", 512, 3e-5), ("roberta", 512, 1e-5), ("bert-large", 64, 1e-5), ("", 64, 3e-5))


def simcse(
    base: str = EMBEDDED_BASE,
    texts: Texts = EMBEDDED_TEXTS,
    preset: Preset = "published",
    *,
    backbone: Backbone = "auto",
    direction: Literal["bidirectional", "causal"] = "bidirectional",
    dev: str | None = None,
    dev_every: int = 125,
    **overrides: Any,
) -> Recipe:
    """Two dropout views of each text, the other texts as negatives.

    Args:
        base: an encoder-only model (BERT, RoBERTa, …), a decoder-only LLM, or the folder of an encoder to train further.
        texts: source(s) of unlabelled sentences.
        preset: "published", or "laptop" for two CPU cores.
        backbone: "encoder": every weight trains, [CLS] is pooled, a linear layer and tanh only while training, the model's own
            dropout of 0.1. "decoder": LoRA, mean pooling, attention dropout 0.3. "auto" looks into the folder's config, and at the
            name of anything else.
        direction: of a decoder's attention.
        dev: task specification by which the best checkpoint is kept; SimCSE uses STS-B dev.
        dev_every: optimiser steps between evaluations; 125 in the released scripts.
        **overrides: see `llm2vec`.

    Raises:
        InputError: unknown preset or backbone, or an override that does not fit.
    """
    check_preset(preset)
    if backbone not in ("auto", "encoder", "decoder"):
        raise InputError(f"backbone: {backbone!r} does not exist; there are auto, encoder, decoder")
    encoder = _is_encoder(base) if backbone == "auto" else backbone == "encoder"
    stage = _encoder_stage(base, preset) if encoder else _decoder_stage(preset)
    stage |= {"name": "simcse", "data": data(texts, "simcse", short=True)}
    values = {
        "name": "simcse" if preset == "published" else f"simcse-{preset}",
        "base": str(base),
        "direction": direction,
        "pooling": "cls" if encoder else "mean",
        "max_length": 512,
        "stages": [stage],
    }
    return finish(values, overrides, dev=dev, dev_every=dev_every)


def _encoder_stage(base: str, preset: str) -> dict[str, Any]:
    size, rate = next((size, rate) for part, size, rate in PUBLISHED if part in base.lower())
    # temperature 0.05; 32 tokens in training only; MLP in training only ("cls_before_pooler" at test)
    objective = {"kind": "contrastive", "scale": 20.0, "max_length": 32, "mlp": True}
    optim: dict[str, Any] = {"lr": rate, "epochs": 1.0}
    if preset == "laptop":
        size, optim = 64, {"lr": 3e-5, "steps": 250}
    return {"objective": objective, "batch": {"size": size}, "optim": optim, "adapter": None, "save_every": 125}


def _decoder_stage(preset: str) -> dict[str, Any]:
    """LLM2Vec's second stage, train_configs/simcse/*.json; on a laptop as in the recipe llm2vec."""
    published = preset == "published"
    return {
        "objective": {"kind": "contrastive", "scale": 20.0, "attention_dropout": 0.3, "max_length": 128 if published else 32},
        "batch": {"size": 128 if published else 64},
        "optim": {"lr": 3e-5, "epochs": 3.0, "stop_after_steps": 1000} if published else {"lr": 1e-3, "steps": 150},
        "adapter": dict(ADAPTER),
        "save_every": 200 if published else 25,
        "log_every": 10 if published else 5,
    }


def _is_encoder(base: str) -> bool:
    config = Path(base).expanduser() / "config.json"
    if not config.is_file():
        return "bert" in base.lower()
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    values = json.loads(config.read_text(encoding="utf-8"))
    return values.get("model_type") in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not values.get("is_decoder", False)
