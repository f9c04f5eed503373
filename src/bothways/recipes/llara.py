"""LLaRA: a decoder adapted to embedding by its own text, then fine-tuned for retrieval.

Paper: LLaRA / Llama2Vec, https://arxiv.org/abs/2312.15503. The values are those of the released
code's README and scripts (FlagEmbedding, research/LLARA): adaptation at 1e-5 for one epoch with
every weight, fine-tuning at 3e-4 with LoRA (r 64, alpha 16, dropout 0.1), and warm-up over a tenth
of the steps in both. The paper's own adaptation (rows of 1024 tokens, 256 a step) is from memory
and unverified. The released example is a toy of 128.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

from bothways.config import Direction
from bothways.errors import InputError
from bothways.moved import old_names
from bothways.nearest import meant
from bothways.pooling.pool import LAST_TOKENS
from bothways.recipes.labeled import LabeledSources, labeled_rows
from bothways.recipes.recipe_parts import (
    EMBEDDED_BASE,
    EMBEDDED_TEXTS,
    Preset,
    TextSources,
    check_preset,
    data,
    finish_recipe,
)
from bothways.training.recipe.recipe import Recipe

LlaraVariant = Literal["code", "paper"]


class LlaraForm(NamedTuple):
    """The choices of a mode.

    Attributes:
        prompts: "document" summarizes, "query" predicts.
        new_tokens: special tokens to add, or None.
        pooling: the pooling of the encoder.
        objective: fields of the objective.
    """

    prompts: dict[str, str]
    new_tokens: tuple[str, ...] | None
    pooling: dict[str, Any]
    objective: dict[str, Any]


def _specials(first: int) -> tuple[str, ...]:
    return tuple(f"<s{number}>" for number in range(first, first + LAST_TOKENS))


SUMMARY, PREDICTION = _specials(1), _specials(1 + LAST_TOKENS)
FORMS: dict[str, LlaraForm] = {
    "code": LlaraForm(
        {
            "query": '"{text}", predict the following passage within eight words: '
            + "".join(PREDICTION),
            "document": '"{text}", summarize the above passage within eight words: '
            + "".join(SUMMARY),
        },
        (*SUMMARY, *PREDICTION),
        {"mode": "last_tokens", "tokens": LAST_TOKENS},
        {"bow_weight": 0.1, "stop_words": "english"},
    ),
    # "input sentence" in the version of the proceedings (FlagEmbedding issue 1129)
    "paper": LlaraForm(
        {
            "query": "{text} The next sentence: {eos}",
            "document": "{text} The original sentence: {eos}",
        },
        None,
        {"mode": "last"},
        {"bow_weight": 1.0, "stop_words": "none", "text_loss": "none"},
    ),
}


def llara(
    base: str = EMBEDDED_BASE,
    texts: TextSources = EMBEDDED_TEXTS,
    preset: Preset = "published",
    *,
    supervised: LabeledSources | None = None,
    mode: LlaraVariant = "code",
    direction: Direction = "causal",
    adaptation: bool = True,
    dev: str | None = None,
    dev_every: int = 100,
    **overrides: object,
) -> Recipe:
    """Adapt a decoder on consecutive passages of documents, then fine-tune it on labeled rows.

    A query is asked to predict the passage that follows it, a document to summarize itself. These
    questions are stored with the encoder as its prompts. Rows without hard negatives get BM25's
    while the data is read. Later they get the model's own, which are mined again as it learns.

    Args:
        base: decoder-only LLM. The authors' is Llama-2-7B.
        texts: documents: books, articles, a folder, or files {input, output_summarize,
            output_predict}. Or a mapping with "adaptation".
        preset: "published", or "laptop", which is sized for SmolLM2-135M on two CPU cores.
        supervised: labeled rows for the fine-tuning (see `labeled.labeled_rows`). If None, only the
            adaptation runs. But with the embedded text, its own pairs are used.
        mode: "code", as released: eight new tokens for each question, and a next-token loss in
            addition to the bags of words. "paper": the prompts' end tokens, and only the bags of
            words, which is known to collapse (`objective.text_loss: next_token` adds the other
            loss).
        direction: "causal" as published. "bidirectional" is our own extension.
        adaptation: if False, skip the adaptation, to compare the same fine-tuning without it.
        dev: task specification, for example "sts:dev.tsv". The fine-tuning keeps its best
            checkpoint by it.
        dev_every: optimizer steps between these evaluations.
        **overrides: any value of the recipe by its path, with `__` for the dot: `seed=1`,
            `stages__adaptation__optim__lr=1e-4`.

    Raises:
        InputError: if the preset or mode is unknown, if no stage is left, or if an override does
            not fit.
    """
    check_preset(preset)
    if mode not in get_args(LlaraVariant):
        raise InputError(
            f"mode: {mode!r} does not exist; {meant(mode, get_args(LlaraVariant))}there are {', '.join(get_args(LlaraVariant))}"
        )
    if supervised is None and texts == EMBEDDED_TEXTS:
        supervised = EMBEDDED_TEXTS
    form = FORMS[mode]
    stages = [_adaptation(form, texts, preset)] if adaptation else []
    if supervised is not None:
        stages.append(_finetune(form, supervised, preset))
    if not stages:
        raise InputError(
            "recipe llara: nothing is left to train without adaptation and supervised rows; give one of them"
        )
    parts = [
        "llara",
        *([] if mode == "code" else [mode]),
        *([] if preset == "published" else [preset]),
    ]
    values = {
        "name": "-".join(parts),
        "base": str(base),
        "direction": direction,
        "pooling": dict(form.pooling),
        "max_length": 512,
        "prompts": dict(form.prompts),
        "default_prompt": "document",
        "new_tokens": None if form.new_tokens is None else list(form.new_tokens),
        "stages": stages,
    }
    return finish_recipe(values, overrides, dev=dev, dev_every=dev_every)


def _adaptation(form: LlaraForm, texts: TextSources, preset: str) -> dict[str, Any]:
    published: dict[str, Any] = {
        "objective": {"kind": "llara", **form.objective, "max_length": 1024},
        "batch": {"size": 32, "accumulation": 8},
        "optim": {"lr": 1e-5, "epochs": 1.0, "warmup_ratio": 0.1},
        "adapter": None,
        "gradient_checkpointing": True,
        "save_every": 500,
        "log_every": 10,
    }
    # Full training of a small model at the published rate would take thousands of steps. LoRA and
    # the rows of the new tokens tolerate a hundred times the rate, as in the recipe llm2vec
    # (docs/log.md). Nothing here has been tuned.
    laptop: dict[str, Any] = {
        "objective": {"kind": "llara", **form.objective, "max_length": 128},
        "batch": {"size": 16},
        "optim": {"lr": 1e-3, "steps": 300, "warmup_steps": 30},
        "adapter": {"r": 16, "dropout": 0.0},
        "save_every": 50,
        "log_every": 10,
    }
    chosen = published if preset == "published" else laptop
    return {"name": "adaptation", "data": data(texts, "adaptation", short=False), **chosen}


def _finetune(form: LlaraForm, supervised: LabeledSources, preset: str) -> dict[str, Any]:
    published: dict[str, Any] = {
        # temperature 0.01; there queries have 64 and passages 160 tokens, here both have one length
        "objective": {"kind": "supervised", "scale": 100.0, "max_length": 160, "negatives": 15},
        # There each of eight devices has a row of one positive and 15 negatives, and every query
        # sees all of them.
        "batch": {"size": 8},
        "optim": {"lr": 3e-4, "epochs": 1.0, "warmup_ratio": 0.1},
        "adapter": {"r": 64, "alpha": 16, "dropout": 0.1},
        # Sampled from the first 200, as for the passage model (FlagEmbedding issue 842).
        "refresh": {"every": 1000, "negatives": 15, "window": [1, 200], "sampling": "random"},
        "save_every": 500,
        "log_every": 10,
    }
    laptop: dict[str, Any] = {
        "objective": {"kind": "supervised", "scale": 100.0, "max_length": 128, "negatives": 2},
        "batch": {"size": 16},
        "optim": {"lr": 5e-4, "steps": 120, "warmup_steps": 12},
        "adapter": {"r": 16, "alpha": 32, "dropout": 0.0},
        "refresh": {"every": 60, "negatives": 7, "window": [1, 50]},
        "save_every": 40,
        "log_every": 10,
    }
    rows = labeled_rows(
        supervised,
        "finetune",
        template=None,
        batches="blended",
        mine={"negatives": 15 if preset == "published" else 7},
    )
    prompts = {"query_prompt": form.prompts["query"], "document_prompt": form.prompts["document"]}
    for part in rows.get("tasks") or (rows,):
        for key, prompt in prompts.items():
            part.setdefault(key, prompt)
    return {"name": "finetune", "data": rows, **(published if preset == "published" else laptop)}


__getattr__ = old_names(__name__)
