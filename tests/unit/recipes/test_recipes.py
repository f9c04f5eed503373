"""Recipes carry the published values, differ by base as published, and can be changed by
keyword.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import BertConfig, LlamaConfig

from bothways import recipes
from bothways.backbone.loading import sources
from bothways.errors import InputError, SourceError
from bothways.training.loop.optim import lr_factor
from bothways.training.recipe.recipe import Recipe


def test_llm2vec_has_the_published_values() -> None:
    made = recipes.llm2vec("meta-llama/Meta-Llama-3-8B-Instruct", "wiki.txt")
    mntp, simcse = made.stages
    assert (made.direction, made.pooling, made.max_length, made.seed) == ("bidirectional", "mean", 512, 42)
    assert (mntp.objective.mask_probability, mntp.objective.style, mntp.objective.row_length) == (0.2, "bert", 512)
    assert (mntp.batch.size, mntp.optim.lr, mntp.optim.epochs, mntp.optim.stop_after_steps) == (32, 5e-5, 3, 1000)
    assert (simcse.batch.size, simcse.optim.lr, simcse.optim.stop_after_steps) == (128, 3e-5, 1000)
    assert (simcse.objective.scale, simcse.objective.attention_dropout, simcse.objective.max_length) == (20, 0.3, 128)
    for stage in made.stages:
        assert stage.adapter is not None
        assert (stage.adapter.r, stage.adapter.scaling, stage.adapter.dropout) == (16, 2, 0.05)
        assert (stage.optim.schedule, stage.optim.warmup_steps) == ("linear", 0)
    per_epoch = 1_000_000 // simcse.batch.size
    assert lr_factor(simcse.optim, 1000, simcse.optim.horizon(per_epoch)) == pytest.approx(0.957, abs=1e-3)


def test_masking_follows_the_base() -> None:
    mistral = recipes.llm2vec("mistralai/Mistral-7B-Instruct-v0.2", "t.txt").stages[0].objective
    assert (mistral.mask_probability, mistral.style) == (0.8, "all_mask")
    unknown = recipes.llm2vec("smollm2-135m", "t.txt").stages[0].objective
    assert (unknown.mask_probability, unknown.style) == (0.2, "bert")


@pytest.mark.parametrize(
    ("base", "size", "lr"),
    [
        ("google-bert/bert-base-uncased", 64, 3e-5),
        ("google-bert/bert-large-uncased", 64, 1e-5),
        ("FacebookAI/roberta-base", 512, 1e-5),
        ("FacebookAI/roberta-large", 512, 3e-5),
    ],
)
def test_simcse_on_encoders_has_the_published_values(base: str, size: int, lr: float) -> None:
    made = recipes.simcse(base, "wiki.txt")
    (stage,) = made.stages
    assert (stage.batch.size, stage.optim.lr, stage.optim.epochs) == (size, lr, 1)
    assert (stage.objective.scale, stage.objective.max_length, stage.objective.mlp) == (20, 32, True)
    assert (made.pooling, stage.adapter, stage.objective.attention_dropout) == ("cls", None, None)


def test_simcse_knows_encoders_by_their_config(tmp_path: Path) -> None:
    for kind, pooling in (("bert", "cls"), ("xlm-roberta", "cls"), ("llama", "mean"), ("gpt2", "mean")):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": kind}))
        assert recipes.simcse(str(folder), "t.txt").pooling == pooling
    assert recipes.simcse("some/model", "t.txt", backbone="encoder").pooling == "cls"
    decoder = recipes.simcse("smollm2-135m", "t.txt", direction="causal")
    assert (decoder.pooling, decoder.direction, decoder.stages[0].objective.attention_dropout) == ("mean", "causal", 0.3)


def test_simcse_knows_encoders_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their config where it can be had, whatever their name; by name otherwise."""
    names = {
        "cls": "BAAI/bge-small-en-v1.5 intfloat/e5-base intfloat/multilingual-e5-large microsoft/mpnet-base BAAI/bge-m3 "
        "google/electra-base-discriminator thenlper/gte-base FacebookAI/roberta-base",
        "mean": "intfloat/e5-mistral-7b-instruct BAAI/bge-multilingual-gemma2 Alibaba-NLP/gte-Qwen2-7B-instruct google/gemma-2b "
        "meta-llama/Llama-3.2-1B openai-community/gpt2-large",
    }

    def unreachable(name: str) -> Any:
        raise SourceError(f"{name}: not reachable")

    monkeypatch.setattr(sources, "source_config", unreachable)
    for pooling, some in names.items():
        for name in some.split():
            assert (name, recipes.simcse(name, "t.txt").pooling) == (name, pooling)
    configs = {"a/encoder": BertConfig(), "a/bert-decoder": BertConfig(is_decoder=True), "a/roberta-llama": LlamaConfig()}
    monkeypatch.setattr(sources, "source_config", lambda name: configs[str(name)])
    assert [recipes.simcse(name, "t.txt").pooling for name in configs] == ["cls", "mean", "mean"]


def test_simcse_on_a_laptop_is_the_stage_of_llm2vec() -> None:
    alone, within = recipes.simcse("b", "t.txt", "laptop"), recipes.llm2vec("b", "t.txt", "laptop", mntp=False)
    assert alone.stages == within.stages
    labelled = recipes.simcse("b", "nli.jsonl", "laptop", supervised=True)
    assert [(made.prompts, made.default_prompt) for made in (alone, within, labelled)] == [({"default": "\n"}, "default")] * 3
    published = recipes.simcse("b", "t.txt")
    encoder = recipes.simcse("bert", "t.txt", "laptop")
    assert [(made.prompts, made.default_prompt) for made in (published, encoder)] == [({}, None)] * 2


@pytest.mark.parametrize("name", recipes.NAMES)
@pytest.mark.parametrize("preset", ["published", "laptop"])
def test_every_recipe_builds_from_its_defaults_and_round_trips(name: str, preset: str) -> None:
    entry = recipes.get(name)
    made = entry.build(preset=preset)
    assert (made.base, {stage.data.all_sources for stage in made.stages}) == ("smollm2-135m", {("python-stdlib",)})
    assert Recipe.from_yaml(made.to_yaml()) == made
    assert "arXiv" in entry.description


def test_llm2vec_supervised_has_the_published_values() -> None:
    made = recipes.llm2vec("meta-llama/Meta-Llama-3-8B-Instruct", "wiki.txt", supervised="rows.jsonl")
    assert [stage.name for stage in made.stages] == ["mntp", "supervised"]  # without SimCSE unless it is asked for
    stage = made.stages[1]
    objective = stage.objective
    assert (objective.scale, objective.negatives, objective.in_batch, objective.max_length) == (50, 1, True, 512)
    assert objective.false_negatives is not None and objective.own_negative_log_weight == 0
    optim = stage.optim
    assert (optim.lr, optim.schedule, optim.warmup_steps, optim.stop_after_steps, optim.epochs) == (
        2e-4,
        "linear",
        300,
        1000,
        3,
    )
    assert (stage.batch.size, stage.batch.accumulation, stage.data.batches) == (512, 1, "homogeneous")
    assert stage.adapter is not None
    assert (stage.adapter.r, stage.adapter.scaling, stage.adapter.dropout) == (16, 2, 0.05)
    assert (made.pool_bos, made.pooling) == (False, "mean")
    # the peak rate is reached, and nearly kept: 1.5M rows in batches of 512, three epochs
    assert lr_factor(optim, 300, optim.horizon(1_500_000 // 512)) == 1
    assert lr_factor(optim, 999, optim.horizon(1_500_000 // 512)) == pytest.approx(0.917, abs=1e-3)


def test_llm2vec_takes_its_stages_one_by_one() -> None:
    names = {
        ("mntp", "simcse", "supervised"): {"simcse": True, "supervised": "rows.jsonl"},
        ("supervised",): {"mntp": False, "supervised": "rows.jsonl"},
        ("simcse",): {"mntp": False},
        ("mntp",): {"simcse": False},
    }
    for preset in ("published", "laptop"):
        for expected, options in names.items():
            made = recipes.llm2vec(preset=preset, **options)  # type: ignore[arg-type]
            assert tuple(stage.name for stage in made.stages) == expected
    with pytest.raises(InputError, match="no stage is left"):
        recipes.llm2vec(mntp=False, simcse=False)


def test_every_stage_that_trains_vectors_is_chosen_by_the_development_metric() -> None:
    made = recipes.llm2vec(supervised="rows.jsonl", simcse=True, dev="stdlib", dev_every=9)
    assert [stage.eval is None for stage in made.stages] == [True, False, False]
    for stage in recipes.nv_embed(dev="stdlib").stages:
        assert stage.eval is not None


@pytest.mark.parametrize(
    ("base", "lr"),
    [("bert-base-uncased", 5e-5), ("bert-large-uncased", 1e-5), ("roberta-base", 5e-5), ("roberta-large", 1e-5)],
)
def test_simcse_supervised_has_the_published_values(base: str, lr: float) -> None:
    made = recipes.simcse(base, "nli.jsonl", supervised=True)
    (stage,) = made.stages
    objective = stage.objective
    assert (objective.kind, objective.scale, objective.max_length, objective.negatives) == ("supervised", 20, 32, 1)
    assert (objective.in_batch, objective.own_negative_log_weight) == (True, 0)
    assert objective.false_negatives is not None  # known answers are never negatives
    assert (stage.batch.size, stage.optim.lr, stage.optim.epochs, stage.optim.warmup_steps) == (512, lr, 3, 0)
    assert (made.pooling, stage.adapter, stage.data.source, made.prompts) == ("cls", None, ("nli.jsonl",), {})


def test_simcse_supervised_on_decoders() -> None:
    made = recipes.simcse("smollm2-135m", "nli.jsonl", "laptop", supervised=True, direction="causal")
    (stage,) = made.stages
    assert (made.pooling, made.direction, stage.objective.kind) == ("mean", "causal", "supervised")
    assert stage.adapter is not None
    assert stage.objective.false_negatives is not None


def test_embedded_text_gives_documents_to_mntp_and_sentences_to_simcse() -> None:
    made = recipes.llm2vec()
    assert [stage.data.column for stage in made.stages] == ["text", "sentence"]
    assert [stage.data.column for stage in recipes.llm2vec(texts="a.txt").stages] == [None, None]


def test_texts_by_stage_and_changes_by_keyword() -> None:
    texts = {"mntp": ["a.txt", Path("b.txt")], "simcse": {"source": "c.jsonl", "column": "s", "limit": 5}}
    made = recipes.llm2vec("b", texts, preset="laptop", dev="stdlib", dev_every=7, seed=1, stages__simcse__optim__lr=2e-3)
    assert made.stages[0].data.source == ("a.txt", "b.txt")
    assert (made.stages[1].data.column, made.stages[1].data.limit) == ("s", 5)
    assert (made.seed, made.stages[1].optim.lr) == (1, 2e-3)
    assert made.stages[0].eval is None  # a lower MNTP loss is no better encoder
    assert made.stages[1].eval is not None
    assert (made.stages[1].eval.metric, made.stages[1].eval.every) == ("stdlib", 7)


def test_wrong_choices() -> None:
    with pytest.raises(InputError, match=r"preset: 'tiny' does not exist; there are published, laptop"):
        recipes.llm2vec(preset="tiny")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="did you mean 'simcse'"):
        recipes.get("simsce")
    with pytest.raises(InputError, match="none for stage 'simcse'"):
        recipes.llm2vec(texts={"mntp": "a.txt"})
    with pytest.raises(InputError, match=r"unknown key.*did you mean 'lr'"):
        recipes.llm2vec(stages__mntp__optim__lrr=1)
    with pytest.raises(InputError, match="backbone"):
        recipes.simcse(backbone="bert")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="order: 'both' does not exist; there are two_stage, by_task, reversed, single"):
        recipes.nv_embed(order="both")  # type: ignore[arg-type]


def test_choices_of_one_recipe_by_name() -> None:
    """What `--option` gives: checked before a recipe's own function sees it."""
    entry = recipes.get("llm2vec")
    assert set(entry.options) == {"mntp", "simcse", "supervised", "servable", "dev_every"}
    made = entry.make({"supervised": ["a.jsonl", "b.jsonl"], "mntp": False}, preset="laptop", dev=None)
    assert made.stages[0].data.source == ("a.jsonl", "b.jsonl")
    assert recipes.get("nv_embed").make({"order": "single"}).stages[0].name == "blended"
    for name, options, message in (
        ("llm2vec", {"supervise": "a"}, "recipe llm2vec: no option 'supervise'; did you mean 'supervised'"),
        ("simcse", {"order": "single"}, "no option 'order'; there are"),
        ("llm2vec", {"mntp": "no thanks"}, "mntp is true or false, not 'no thanks'"),
        ("llm2vec", {"supervised": True}, "supervised is a name, file or list, not True"),
        ("llm2vec", {"supervised": 3}, "expected a file or folder"),
    ):
        with pytest.raises(InputError, match=message):
            recipes.get(name).make(options)


@pytest.mark.parametrize("stages", [{}, {"supervised": "rows.jsonl"}, {"simcse": False}])
def test_llm2vec_treats_texts_as_the_authors_encode_does(stages: dict[str, Any]) -> None:
    """On chat bases and bases with BOS: wrapped, joined by a blank, BOS never pooled; SimCSE trains
    on bare texts there.
    """
    made = recipes.llm2vec("mistralai/Mistral-7B-Instruct-v0.2", "x.txt", **stages)
    assert (made.wrapper, made.joint, made.pool_bos) == (("[INST] ", " [/INST]"), " ", False)
    assert [stage.objective.plain for stage in made.stages if stage.objective.kind == "contrastive"] == [True] * (not stages)
    plain = recipes.llm2vec("princeton-nlp/Sheared-LLaMA-1.3B", "x.txt", **stages)
    assert (plain.wrapper, plain.joint, plain.pool_bos) == (None, " ", False)
    assert recipes.llm2vec(texts="x.txt", preset="laptop").joint is None  # a blank would replace its line feed
