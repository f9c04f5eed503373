"""The recipe's choices on an encoder: what is set, what stays, and which folders are encoders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import bothways as bw
from bothways.backbone.loading.model_source import locate
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError, SourceError
from bothways.training.stage.encoder_options import (
    add_new_tokens,
    base_positions,
    convert_options,
    is_encoder_folder,
    set_options,
)
from bothways.training.stage.stage_context import StageContext
from tiny import tiny_llama
from unit.training.material import recipe, simcse
from unit.training.on_hub import on_hub


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("encoder_options") / "base")


@pytest.fixture
def encoder(base: Path) -> Encoder:
    return bw.convert(base, dtype="float32", device="cpu", prompts={"query": "q: ", "old": "o: "}, default_prompt="old")


def test_open_choices_of_a_recipe_leave_an_encoder_as_it_is(base: Path, encoder: Encoder) -> None:
    before = (dict(encoder.options.prompts), encoder.options.default_prompt, encoder.options.wrapper)
    set_options(encoder, recipe(base.parent, simcse()))
    assert (encoder.options.prompts, encoder.options.default_prompt, encoder.options.wrapper) == before
    assert encoder.options.pool_bos


def test_choices_of_a_recipe_are_set(base: Path, encoder: Encoder) -> None:
    changes = {"prompts": {"query": "find: ", "new": "n: "}, "default_prompt": "new", "pool_bos": False, "add_eos": True}
    set_options(encoder, recipe(base.parent, simcse(), **changes, wrapper=("<", ">"), new_tokens=["<new>"]))
    assert encoder.options.prompts == {"query": "find: ", "old": "o: ", "new": "n: "}
    assert (encoder.options.default_prompt, encoder.options.pool_bos) == ("new", False)
    assert (encoder.options.wrapper.prefix, encoder.options.wrapper.suffix) == ("<", ">")
    assert encoder.tokenizer("a")["input_ids"][-1] == encoder.tokenizer.eos_token_id
    assert "<new>" in encoder.tokenizer.get_vocab()
    assert len(encoder.backbone.get_input_embeddings().weight) > encoder.tokenizer.convert_tokens_to_ids("<new>")


def test_new_tokens_are_those_of_the_seed(base: Path) -> None:
    rows = []
    for seed in (1, 1, 2):
        made = bw.convert(base, dtype="float32", device="cpu")
        add_new_tokens(made, recipe(base.parent, simcse(), seed=seed, new_tokens=["<new>"]))
        rows.append(made.backbone.get_input_embeddings().weight[-1].tolist())
    assert rows[0] == rows[1] != rows[2]


def test_a_converted_encoder_has_the_recipes_choices(base: Path) -> None:
    made = recipe(base.parent, simcse(), prompts={"query": "q: "}, default_prompt="query", pooling="last", direction="causal")
    encoder = bw.convert(base, dtype="float32", device="cpu", **convert_options(made))
    assert (encoder.direction, encoder.pooling.mode, encoder.options.prompts) == ("causal", "last", {"query": "q: "})
    assert encoder.options.default_prompt == "query"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"config.json": {}}, False),
        ({"modules.json": []}, True),
        ({"llm2vec_config.json": {}}, True),
        ({"adapter_config.json": {}}, False),
        ({"adapter_config.json": {}, "bothways.json": {"rope": None, "base_adapter": None, "whole": 0}}, False),
    ],
)
def test_which_folders_hold_an_encoder(tmp_path: Path, files: dict[str, object], found: bool) -> None:
    for name, value in files.items():
        (tmp_path / name).write_text(json.dumps(value))
    assert is_encoder_folder(tmp_path) == is_encoder_folder(str(tmp_path)) == found


def test_names_without_a_folder_are_bases() -> None:
    assert not is_encoder_folder("smollm2-135m")
    assert not is_encoder_folder("/no/such/folder")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"config.json": {}}, False),
        ({"config.json": {}, "modules.json": []}, True),
        ({"llm2vec_config.json": {}}, True),
        ({"adapter_config.json": {}}, False),
    ],
)
def test_a_hub_id_is_read_like_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, object], found: bool
) -> None:
    for name, value in files.items():
        (tmp_path / name).write_text(json.dumps(value))
    on_hub(monkeypatch, "owner/model", tmp_path)
    assert is_encoder_folder("owner/model") == is_encoder_folder(locate("owner/model")) == found
    with pytest.raises(SourceError, match="owner/other: "):
        is_encoder_folder("owner/other")


def test_positions_are_the_recipes_or_none(base: Path) -> None:
    assert base_positions(StageContext(recipe(base.parent, simcse()), 0)) is None
    longer = base_positions(StageContext(recipe(base.parent, simcse(), rope={"context": 1024, "type": "linear"}), 0))
    assert longer is not None and (longer.context, longer.type) == (1024, "linear")
    missing = StageContext(recipe(base.parent, simcse(), base_adapter=str(base)), 0)
    with pytest.raises(InputError, match=r"no adapter_config\.json"):
        base_positions(missing)
