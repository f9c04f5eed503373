"""The recipe llara: published values, presets, modes, what it refuses."""

from __future__ import annotations

import pytest

import bothways as bw
from bothways.errors import InputError
from bothways.recipes.llara import FORMS
from bothways.training.recipe.recipe import Recipe


def test_published_values():
    recipe = bw.recipes.llara()
    assert (recipe.name, recipe.direction, recipe.default_prompt, len(recipe.new_tokens)) == ("llara", "causal", "document", 16)
    assert recipe.pooling.mode == "last_tokens" and recipe.pooling.tokens == 8
    first, second = recipe.stages
    assert (first.objective.kind, first.adapter, first.optim.lr, first.optim.epochs) == ("llara", None, 1e-5, 1.0)
    assert (first.optim.warmup_ratio, first.objective.bow_weight, first.objective.stop_words) == (0.1, 0.1, "english")
    assert first.objective.text_loss is None and first.gradient_checkpointing
    assert (second.optim.lr, second.adapter.r, second.adapter.alpha, second.adapter.dropout) == (3e-4, 64, 16, 0.1)
    assert (second.objective.scale, second.objective.negatives, second.objective.max_length) == (100.0, 15, 160)
    assert second.data.mine.negatives == 15 and second.refresh.window == (1, 200)
    assert second.data.query_prompt == recipe.prompts["query"] and second.data.document_prompt == recipe.prompts["document"]
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


def test_prompts_are_the_authors():
    code = FORMS["code"].prompts
    assert code["document"] == '"{text}", summarize the above passage within eight words: <s1><s2><s3><s4><s5><s6><s7><s8>'
    assert (
        code["query"] == '"{text}", predict the following passage within eight words: <s9><s10><s11><s12><s13><s14><s15><s16>'
    )
    assert FORMS["paper"].prompts["document"] + FORMS["paper"].prompts["query"].removeprefix("{text}") == (
        "{text} The original sentence: {eos} The next sentence: {eos}"
    )


def test_modes_presets_and_parts():
    paper = bw.recipes.llara(mode="paper", preset="laptop")
    assert (paper.name, paper.new_tokens) == ("llara-paper-laptop", None)
    assert (paper.stages[0].objective.text_loss, paper.stages[0].objective.bow_weight) == ("none", 1.0)
    assert [stage.name for stage in bw.recipes.llara(texts="books/").stages] == ["adaptation"]
    both = bw.recipes.llara(texts={"adaptation": "books/"}, supervised="rows.jsonl")
    assert [stage.data.source for stage in both.stages] == [("books/",), ("rows.jsonl",)]
    tasks = {"tasks": [{"name": "a", "source": "a.jsonl"}, {"name": "b", "source": "b.jsonl", "query_prompt": "own {text} x"}]}
    made = bw.recipes.llara(supervised=tasks).stages[1].data.tasks
    assert [task.query_prompt for task in made] == [FORMS["code"].prompts["query"], "own {text} x"]
    alone = bw.recipes.llara(adaptation=False, dev="stdlib")
    assert [stage.name for stage in alone.stages] == ["finetune"] and alone.stages[0].eval.metric == "stdlib"
    assert bw.recipes.llara(direction="bidirectional").direction == "bidirectional"
    assert bw.recipes.llara(stages__adaptation__optim__lr=1e-4).stages[0].optim.lr == 1e-4
    assert "llara" in bw.recipes.NAMES and bw.recipes.get("llara").options[:2] == ("supervised", "mode")


def test_what_it_refuses():
    with pytest.raises(InputError, match="mode: 'neither' does not exist; there are code, paper"):
        bw.recipes.llara(mode="neither")
    with pytest.raises(InputError, match="nothing is left to train"):
        bw.recipes.llara(texts="books/", adaptation=False)
    with pytest.raises(InputError, match="preset: 'huge' does not exist"):
        bw.recipes.llara(preset="huge")
