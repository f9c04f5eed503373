"""LongLoRA's published values, and recipes one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import GPTNeoXConfig, LlamaConfig

from bothways import recipes
from bothways.attention.shifted import ShiftedGroups
from bothways.backbone.adapter.lora import meta_model, trainable_counts
from bothways.backbone.adapter.targets import target_names
from bothways.errors import InputError
from bothways.training.loop.optim import lr_factor
from bothways.training.recipe.overrides import override
from bothways.training.recipe.recipe import Recipe


def test_published_values() -> None:
    """arXiv 2309.12307, section 4.1, and fine-tune.py of the authors."""
    made = recipes.longlora("meta-llama/Llama-2-7b-hf", "redpajama.jsonl")
    (stage,) = made.stages
    assert (made.rope.type, made.rope.context, made.rope.factor) == ("linear", 8192, None)  # type: ignore[union-attr]
    assert (stage.objective.context, stage.objective.shifted) == (8192, ShiftedGroups(ratio=0.25, shift="heads", wrap="none"))
    adapter = stage.adapter
    assert adapter is not None
    assert (adapter.r, adapter.alpha, adapter.dropout) == (8, 16, 0)
    model = meta_model(LlamaConfig(num_hidden_layers=1))
    assert [name.split(".")[-1] for name in target_names(model, adapter)] == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert adapter.train_whole == ("embed", "norm")
    optim = stage.optim
    assert (optim.lr, optim.betas, optim.weight_decay, optim.steps) == (2e-5, (0.9, 0.95), 0, 1000)
    assert [lr_factor(optim, step, 1000) for step in (0, 10, 20, 999)] == [0, 0.5, 1, 1]
    assert (stage.batch.size, stage.batch.accumulation, stage.gradient_checkpointing) == (1, 64, True)
    assert (made.max_length, made.direction) == (8192, "causal")


@pytest.mark.parametrize(("train", "expected"), [("lora+", 139_726_848), ("lora", 8_388_608)])
def test_llama_2_7b_trains_the_number_of_weights_of_the_paper(train: Any, expected: int) -> None:
    """LoRA on attention, then the embedding's 131,072,000 and the 266,240 of 65 norms with it."""
    config = LlamaConfig(
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=32000
    )
    (stage,) = recipes.longlora("meta-llama/Llama-2-7b-hf", "t.txt", train=train).stages
    assert trainable_counts(meta_model(config), stage.adapter).trainable == expected


def test_a_laptop_interpolates_with_what_few_steps_can_repair() -> None:
    usual, chosen = (recipes.longlora("b", "t.txt", "laptop", **options).rope for options in ({}, {"rope": "linear"}))
    assert usual is not None and chosen is not None
    assert (usual.type, usual.context, chosen.type) == ("yarn", 16384, "linear")


def test_64_rows_a_step_over_any_number_of_processes() -> None:
    for processes in (1, 8, 64):
        batch = recipes.longlora("b", "t.txt", processes=processes).stages[0].batch
        assert batch.size * batch.accumulation * processes == 64
    with pytest.raises(InputError, match="processes: must divide the batch of 64 rows"):
        recipes.longlora("b", "t.txt", processes=7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": "16k"}, r"context: must be a whole number \(got '16k'\)"),
        ({"processes": "two"}, "processes: must be a whole number"),
        ({"text_length": "4k", "then": "llm2vec"}, "text_length: must be a whole number"),
        ({"text_length": True, "then": "llm2vec"}, "text_length: must be a whole number"),
        ({"text_length": 64}, "text_length: tokens of a text in the stages of `then`, which is not given"),
        ({"shifted": "false"}, "shifted: must be true or false"),
        ({"then": 5}, r"then: must be the name of a recipe, or a Recipe \(got 5\)"),
    ],
)
def test_options_of_the_wrong_kind(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipes.longlora("b", "t.txt", **options)


def test_the_papers_comparisons() -> None:
    lora, full, dense = (
        recipes.longlora("b", "t.txt", **options).stages[0]
        for options in ({"train": "lora"}, {"train": "full"}, {"shifted": False})
    )
    assert lora.adapter is not None
    assert lora.adapter.train_whole is None
    assert full.adapter is None
    assert dense.objective.shifted is None
    with pytest.raises(
        InputError, match=r"train: 'lora\+\+' does not exist; did you mean 'lora\+'\? there are lora\+, lora, full"
    ):
        recipes.longlora("b", "t.txt", train="lora++")  # type: ignore[arg-type]


def test_then_llm2vec_makes_an_encoder_for_long_documents() -> None:
    made = recipes.longlora("b", "t.txt", context=4096, then="llm2vec", dev="stdlib", seed=7, stages__simcse__optim__lr=1e-4)
    assert [stage.name for stage in made.stages] == ["longlora", "mntp", "simcse"]
    assert (made.direction, made.max_length, made.seed) == ("bidirectional", 4096, 7)
    mntp = made.stages[1]
    alone = recipes.llm2vec("b", "t.txt").stages[0]
    # longer rows, as many tokens a step
    assert mntp.objective.row_length == 4096
    assert mntp.batch.size * mntp.objective.row_length == alone.batch.size * alone.objective.row_length
    assert made.stages[2].optim.lr == 1e-4
    # its attention is full as published, and in bidirectional groups on request
    assert mntp.objective.shifted is None
    grouped = override(made, ["stages.mntp.objective.shifted={ratio: 0.25}"])
    assert grouped.stages[1].objective.shifted == ShiftedGroups()
    assert made.stages[2].eval is not None
    assert Recipe.from_yaml(made.to_yaml()) == made


def test_a_dev_metric_that_no_stage_takes_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"^dev: chooses checkpoints of contrastive stages, but recipe longlora does not have such a stage"
    ):
        recipes.longlora("b", "t.txt", dev="stdlib")
    with pytest.raises(InputError, match=r"^dev: .* recipe llara-laptop does not have"):
        recipes.llara("b", "t.txt", "laptop", dev="stdlib")
    with pytest.raises(InputError, match=r"^dev: is only valid here if `then` is a name"):
        recipes.longlora("b", "t.txt", then=recipes.llm2vec("b", "t.txt"), dev="stdlib")


def test_then_takes_a_recipe_with_choices_of_its_own(tmp_path: Path) -> None:
    second = recipes.simcse("b", "s.txt", direction="bidirectional")
    made = recipes.longlora("b", "t.txt", context=4096, then=second)
    assert [stage.data.source for stage in made.stages] == [("t.txt",), ("s.txt",)]
    assert made.rope is not None
    with pytest.raises(InputError, match="two stages are named 'longlora'"):
        recipes.longlora("b", "t.txt", then="longlora")


@pytest.mark.parametrize(("then", "stages"), [("llm2vec", ["simcse"]), ("nv_embed", ["retrieval", "blended"])])
def test_contrastive_stages_read_longer_texts_on_request(then: str, stages: list[str]) -> None:
    usual = recipes.longlora("b", "rows.jsonl", context=4096, then=then)
    made = recipes.longlora("b", "rows.jsonl", context=4096, then=then, text_length=2048)
    for name in stages:
        before, after = (next(stage for stage in each.stages if stage.name == name) for each in (usual, made))
        assert before.objective.max_length <= 512 and not before.gradient_checkpointing
        assert after.objective.max_length == 2048 and after.gradient_checkpointing
        assert after.batch == before.batch
    assert [stage for stage in made.stages if stage.name not in stages] == [
        stage for stage in usual.stages if stage.name not in stages
    ]


@pytest.mark.parametrize("wrong", [{"then": "llm2vec", "text_length": 4097}, {"then": "llm2vec", "text_length": 0}])
def test_a_text_length_that_does_not_fit_is_refused(wrong: dict) -> None:
    with pytest.raises(
        InputError, match=r"^text_length: tokens of a text in the stages of `then`, 1 to the context of 4096 \(got "
    ):
        recipes.longlora("b", "t.txt", context=4096, **wrong)


def test_a_text_length_that_no_stage_takes_is_refused() -> None:
    with pytest.raises(InputError, match="text_length: recipe llara does not have a contrastive stage to use it; leave it out"):
        recipes.longlora("b", "t.txt", context=4096, then="llara", text_length=2048)


def test_documents_apart_from_labelled_rows() -> None:
    made = recipes.longlora("b", "rows.jsonl", context=4096, then="nv_embed", documents=["books/", "more.txt"])
    assert [stage.data.source for stage in made.stages] == [("books/", "more.txt"), ("rows.jsonl",), ("rows.jsonl",)]


def test_rows_of_mntp_are_cut_from_whole_documents() -> None:
    made = recipes.longlora("b", "t.txt", context=4096, then="llm2vec")
    assert [stage.data.unit for stage in made.stages] == [None, "auto", None]


def test_attention_is_found_by_family() -> None:
    adapter = recipes.longlora("b", "t.txt").stages[0].adapter
    assert adapter is not None
    model = meta_model(GPTNeoXConfig(num_hidden_layers=2))
    names = [f"layers.{layer}.attention.{name}" for layer in range(2) for name in ("query_key_value", "dense")]
    assert target_names(model, adapter) == names


def test_composed_recipes_take_start_and_result_from_the_right_one() -> None:
    first = recipes.longlora("long", "t.txt", context=4096)
    second = recipes.llm2vec("other", "t.txt", preset="laptop", pooling="weighted_mean", seed=3)
    made = recipes.compose(first, second)
    assert (made.base, made.rope, made.pooling, made.seed, made.max_length) == ("long", first.rope, "weighted_mean", 3, 512)
    assert made.stages == first.stages + second.stages
    with pytest.raises(InputError, match="trains a language model, but the stage before it leaves an encoder"):
        recipes.compose(second, first)


def test_from_the_command_line() -> None:
    made = recipes.get("longlora").make({"then": "llm2vec", "context": 4096, "shifted": False}, base="b", texts="t.txt")
    assert yaml.safe_load(made.to_yaml())["stages"][0]["objective"]["shifted"] is None
