"""The form that every server computes: which values of a recipe it sets, and who takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import bothways as bw
from bothways import recipes
from bothways.recipes import servable
from bothways.training.stage.encoder_options import convert_options, set_options
from tiny import tiny_llama

CHAT = "mistralai/Mistral-7B-Instruct-v0.2"


def form(made: Any) -> tuple[Any, ...]:
    return made.add_bos, made.pool_bos, made.pool_prompt, made.wrapper, made.joint, made.default_prompt


@pytest.mark.parametrize("preset", ["published", "laptop"])
def test_it_leaves_nothing_that_a_server_does_not_do(preset: Any) -> None:
    for made in (
        recipes.llm2vec(CHAT, "x.txt", preset, servable=True),
        recipes.llm2vec(CHAT, "x.txt", preset, supervised="rows.jsonl", servable=True),
        recipes.simcse("smollm2-135m", "x.txt", preset, servable=True),
        recipes.nv_embed("smollm2-135m", "rows.jsonl", preset, servable=True),
    ):
        assert form(made) == (True, True, True, None, None, None), made.name
        assert made.pooling == "mean" and "\n" not in made.prompts.values()


def test_the_presets_own_form_is_one_value(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"texts": "x.txt", "preset": "laptop"}
    for recipe in (recipes.llm2vec, recipes.simcse):
        today = recipe(**options, servable=False)
        assert (today.prompts, today.default_prompt, today.pool_prompt) == ({"default": "\n"}, "default", None)
        for form in (False, True):
            monkeypatch.setattr(servable, "SERVABLE", {"published": False, "laptop": form})
            assert recipe(**options) == recipe(**options, servable=form)
            assert recipe(**options, servable=False) == today != recipe(**options, servable=True)


def test_an_encoder_only_base_keeps_its_own_form() -> None:
    options: dict[str, Any] = {"texts": "x.txt", "preset": "laptop", "backbone": "encoder"}
    assert recipes.simcse(**options, servable=True) == recipes.simcse(**options)


def test_the_command_lines_option() -> None:
    for name in ("llm2vec", "simcse", "nv_embed"):
        assert form(recipes.get(name).make({"servable": True}, texts="rows.jsonl"))[:3] == (True, True, True)


def test_prompts_are_pooled_in_training_and_afterwards(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base")
    made = recipes.llm2vec(str(base), "x.txt", "laptop", servable=True, prompts={"query": "Find: "})
    encoder = bw.convert(base, **convert_options(made), dtype="float32", device="cpu")
    (row,) = encoder.tokenize([("Find: ", "a cat")])
    assert all(row.pool) and row.ids[0] == encoder.tokenizer.bos_token_id
    encoder.save(tmp_path / "saved")
    assert all(bw.load(tmp_path / "saved").tokenize([("Find: ", "a cat")])[0].pool)
    # an encoder that was trained otherwise goes on in this form
    other = bw.convert(base, prompts={"query": "Find: "}, dtype="float32", device="cpu")
    set_options(other, made)
    assert other.tokenize([("Find: ", "a cat")]) == [row]
