"""SimCSE on its own, without labels or with those of NLI.

Encoder-only backbones train as published, decoders with LLM2Vec's adapters.

Paper: https://arxiv.org/abs/2104.08821. The values are those of its appendix A and of the released
scripts (princeton-nlp/SimCSE @49fa580).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from bothways.errors import BothwaysError, InputError
from bothways.foreign import read_object
from bothways.nearest import meant
from bothways.recipes.labeled import labeled_rows
from bothways.recipes.llm2vec import ADAPTER, LINE_FEED
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

Backbone = Literal["auto", "encoder", "decoder"]


class _Published(NamedTuple):
    """Batch size and learning rate by a part of the base's name.

    Sources: table A.1 of the paper, and the released scripts for supervised training.
    """

    part: str
    size: int
    rate: float
    supervised_size: int
    supervised_rate: float


#: The first match counts.
PUBLISHED = (
    _Published("roberta-large", 512, 3e-5, 512, 1e-5),
    _Published("roberta", 512, 1e-5, 512, 5e-5),
    _Published("bert-large", 64, 1e-5, 512, 1e-5),
    _Published("", 64, 3e-5, 512, 5e-5),
)


def simcse(
    base: str = EMBEDDED_BASE,
    texts: TextSources = EMBEDDED_TEXTS,
    preset: Preset = "published",
    *,
    supervised: bool = False,
    graded: str | Sequence[str] | None = None,
    teacher: str | None = None,
    backbone: Backbone = "auto",
    direction: Literal["bidirectional", "causal"] = "bidirectional",
    servable: bool | None = None,
    dev: str | None = None,
    dev_every: int = 125,
    **overrides: object,
) -> Recipe:
    """Train on two dropout views of each text, or on labeled rows with a hard negative each.

    The other texts of the batch are negatives.

    Args:
        base: an encoder-only model (BERT, RoBERTa, …), a decoder-only LLM, or the folder of an
            encoder to train further.
        texts: source(s) of unlabeled sentences. With `supervised`, labeled ones, above all NLI
            tables in any language. While these are read, entailments become positives and
            contradictions hard negatives.
        preset: "published", or "laptop" for two CPU cores, with a line feed before every text on a
            decoder, as in llm2vec.
        supervised: learn from labeled rows, without instructions.
        graded: file(s) of scored pairs, for example "stsb/train.jsonl". A second stage then learns
            their order (CoSENT). On the command line: `--option graded=stsb/train.jsonl`.
        teacher: an encoder folder or hub id, or a function module:name, that teaches its vectors of
            the texts, in place of SimCSE's dropout views: `--option teacher=runs/large`.
        backbone: "encoder": every weight trains, [CLS] is pooled, and the model's own dropout of
            0.1 is used. While training without labels, a linear layer and tanh follow the pooling.
            "decoder": LoRA, mean pooling, and attention dropout 0.3 without labels. "auto": decide
            by the base's config, or by its name if no config can be read (a hub id without
            network). To keep the layer at test time, override
            `stages__simcse__objective__keep_mlp=True`.
        direction: direction of a decoder's attention.
        servable: if True, train a decoder in the form that every server computes, see
            `recipes.servable`. If None, the preset's own form. On the command line:
            `--option servable=true`. [CLS] of an encoder is pooled in every server.
        dev: task specification, for example "sts:dev.tsv". The best checkpoint is kept by it.
            SimCSE uses STS-B dev.
        dev_every: optimizer steps between evaluations. The released scripts have 125.
        **overrides: as in `llm2vec`.

    Raises:
        InputError: if the preset or backbone is unknown, or if an override does not fit.
    """
    check_preset(preset)
    if backbone not in ("auto", "encoder", "decoder"):
        raise InputError(
            f"backbone: {backbone!r} does not exist; {meant(backbone, get_args(Backbone))}there are auto, encoder, decoder"
        )
    encoder = _is_encoder(base) if backbone == "auto" else backbone == "encoder"
    stage = _first_stage(
        base, texts, preset, encoder=encoder, supervised=supervised, teacher=teacher
    )
    stages = [stage]
    if graded is not None:
        stages.append(_graded_stage(graded, encoder=encoder, preset=preset))
    title = "simcse-supervised" if supervised else "simcse"
    title = title if teacher is None else "simcse-taught"
    title = title if graded is None else f"{title}-graded"
    values: dict[str, Any] = {
        "name": title if preset == "published" else f"{title}-{preset}",
        "base": str(base),
        "direction": direction,
        "pooling": "cls" if encoder else "mean",
        "max_length": 512,
        "stages": stages,
    }
    if not encoder and is_servable(servable, preset):
        values |= FORM
    elif preset == "laptop" and not encoder:
        values |= {"prompts": dict(LINE_FEED), "default_prompt": "default"}
    return finish_recipe(values, overrides, dev=dev, dev_every=dev_every)


def _encoder_stage(base: str, preset: str) -> dict[str, Any]:
    found = _values(base)
    # Temperature 0.05. The 32 tokens and the MLP apply only in training ("cls_before_pooler" at
    # test).
    objective = {"kind": "contrastive", "scale": 20.0, "max_length": 32, "mlp": True}
    size, optim = found.size, {"lr": found.rate, "epochs": 1.0}
    if preset == "laptop":
        size, optim = 64, {"lr": 3e-5, "steps": 250}
    return {
        "objective": objective,
        "batch": {"size": size},
        "optim": optim,
        "adapter": None,
        "save_every": 125,
    }


def _supervised_encoder(base: str, preset: str) -> dict[str, Any]:
    found = _values(base)
    size, optim = found.supervised_size, {"lr": found.supervised_rate, "epochs": 3.0}
    if preset == "laptop":
        size, optim = 64, {"lr": 5e-5, "steps": 250}
    # Published with an MLP that is kept at test time (objective.mlp and objective.keep_mlp).
    # Without one, it scored the same: 86.2 on STS-B dev.
    return {
        "objective": _nli(preset),
        "batch": {"size": size},
        "optim": optim,
        "adapter": None,
        "save_every": 125,
    }


def _nli(preset: str) -> dict[str, Any]:
    """Build the objective for NLI rows.

    Temperature 0.05, the contradiction as hard negative with weight α = 1, 32 tokens in training
    only.
    """
    objective: dict[str, Any] = {
        "kind": "supervised",
        "scale": 20.0,
        "max_length": 32,
        "negatives": 1,
    }
    # In SimCSE's code every text of the batch is a negative. Here known answers are left out. Set
    # false_negatives: null to do as SimCSE does.
    return objective | ({} if preset == "published" else {"graph_tokens": 4096})


def _decoder_stage(preset: str) -> dict[str, Any]:
    """Build LLM2Vec's second stage, train_configs/simcse/*.json.

    The laptop's values are explained in the recipe llm2vec.
    """
    published = preset == "published"
    sizes = (
        {"scale": 20.0, "max_length": 128}
        if published
        else {"scale": 10.0, "max_length": 32, "graph_tokens": 4096}
    )
    return {
        "objective": {"kind": "contrastive", "attention_dropout": 0.3, **sizes},
        "batch": {"size": 128 if published else 64},
        "optim": {"lr": 3e-5, "epochs": 3.0, "stop_after_steps": 1000}
        if published
        else {"lr": 1e-3, "steps": 150},
        "adapter": ADAPTER if published else ADAPTER | {"dropout": 0.0},
        "save_every": 200 if published else 25,
        "log_every": 10 if published else 5,
    }


def _supervised_decoder(preset: str) -> dict[str, Any]:
    """Combine SimCSE's values for NLI with the rate of LLM2Vec's supervised adapters.

    Nobody has published this combination.
    """
    published = preset == "published"
    return {
        "objective": _nli(preset),
        "batch": {"size": 512 if published else 64},
        "optim": {"lr": 2e-4, "epochs": 3.0} if published else {"lr": 1e-3, "steps": 150},
        "adapter": ADAPTER if published else ADAPTER | {"dropout": 0.0},
        "save_every": 125 if published else 25,
        "log_every": 10 if published else 5,
    }


def _first_stage(
    base: str,
    texts: TextSources,
    preset: Preset,
    *,
    encoder: bool,
    supervised: bool,
    teacher: str | None,
) -> dict[str, Any]:
    """Build the stage on texts or labels, with its data."""
    if supervised:
        stage = _supervised_encoder(base, preset) if encoder else _supervised_decoder(preset)
        rows = labeled_rows(texts, "supervised", template=None, batches="blended")
        stage |= {"name": "supervised", "data": rows}
    else:
        stage = _encoder_stage(base, preset) if encoder else _decoder_stage(preset)
        name = "simcse" if teacher is None else "distillation"
        stage |= {"name": name, "data": data(texts, name, short=True)}
    return stage if teacher is None else _taught(stage, teacher, supervised=supervised)


def _taught(stage: dict[str, Any], teacher: str, *, supervised: bool) -> dict[str, Any]:
    """Learn a teacher's vectors with the sizes and rates of the stage without labels.

    Raises:
        InputError: if the stage learns from labels.
    """
    if supervised:
        raise InputError(
            "teacher: learns from plain texts, and supervised from labels; leave one out, or set "
            "stages.supervised.objective.distillation.teacher to add its scores to labels"
        )
    before = stage["objective"]
    objective = {
        "kind": "distillation",
        "teacher": {"encoder": teacher},
        "max_length": before["max_length"],
    }
    if "graph_tokens" in before:
        objective["graph_tokens"] = before["graph_tokens"]
    return {**stage, "name": "distillation", "objective": objective}


def _graded_stage(source: str | Sequence[str], *, encoder: bool, preset: str) -> dict[str, Any]:
    """Build the stage on scored pairs.

    Four epochs in batches of 32 at 2e-5 with a tenth of warm-up are SBERT's for STS-B
    (arXiv 1908.10084, section 4.2, batch 16 there). Adapters have LLM2Vec's rate.
    """
    optim: dict[str, Any] = {"lr": 2e-5 if encoder else 2e-4, "epochs": 4.0, "warmup_ratio": 0.1}
    if preset == "laptop":
        optim = {"lr": 3e-5 if encoder else 5e-4, "steps": 150, "warmup_ratio": 0.1}
    return {
        "name": "graded",
        "objective": {"kind": "graded", "max_length": 64},
        "data": {"source": [source] if isinstance(source, str) else list(source)},
        "batch": {"size": 32},
        "optim": optim,
        "adapter": None
        if encoder
        else ADAPTER | ({} if preset == "published" else {"dropout": 0.0}),
        "save_every": 100 if preset == "published" else 25,
        "log_every": 10 if preset == "published" else 5,
    }


def _values(base: str) -> _Published:
    return next(found for found in PUBLISHED if found.part in base.lower())


_ENCODER_NAMES = re.compile(
    r"bert|electra|mpnet|minilm|xlm-r|(?:bge|e5|gte|uae|arctic-embed)(?:-[a-z]+)*-(?:xs|s|m|l|small|base|large|m3)\b"
)
"""Names of encoder-only families, for a base with a config that cannot be read now.

`e5-mistral-7b` and `bge-multilingual-gemma2` do not match.
"""


def _is_encoder(base: str) -> bool:
    """Tell if a base is encoder-only, by its config in a folder or on the hub.

    If no config can be read, its name decides.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    config = Path(base).expanduser() / "config.json"
    if config.is_file():
        values = read_object(config)
        return values.get("model_type") in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not values.get(
            "is_decoder", False
        )
    from bothways.backbone.loading.model_source import resolve
    from bothways.backbone.loading.sources import source_config

    try:
        source = resolve(base)
        if source.kind != "hub":
            return False
        found = source_config(source)
    except BothwaysError:
        return _ENCODER_NAMES.search(base.lower()) is not None
    return found.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(
        found, "is_decoder", False
    )
