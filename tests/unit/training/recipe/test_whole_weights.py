"""Requests for a base in 4 or 8 bits are refused in one line, under every name that users type."""

from __future__ import annotations

import pytest

from bothways.errors import InputError
from bothways.training.recipe.overrides import override
from bothways.training.recipe.recipe_files import read_recipe
from unit.training.recipe.test_recipe import make
from unit.training.recipe.test_recipe_files import MNTP, write

ADVICE = r"4 bits \(QLoRA\) are a setting of a stage's adapter: --set stages\.\*\.adapter\.load_in_4bit=true; 8 bits are not supported"


@pytest.mark.parametrize(
    "values",
    [
        {"base": {"name": "a/b", "load_in_4bit": True}},
        {"load_in_8bit": True},
        {"quantization_config": {"load_in_4bit": True}},
        {"dtype": "int4"},
        {"dtype": "nf4"},
        {"dtype": "4bit"},
        {"dtype": "int8"},
        {"quantize": "int8"},
    ],
)
def test_a_recipe_with_rounded_weights_is_refused(values) -> None:
    with pytest.raises(InputError, match=f"^recipe: .*{ADVICE}"):
        make(**values)


@pytest.mark.parametrize(
    "assignment",
    [
        "base.load_in_4bit=true",
        "stages.mntp.adapter.quantize=4bit",
        "stages.*.adapter.type=qlora",
        "stages.simcse.quantization_config={load_in_4bit: true}",
    ],
)
def test_a_change_of_a_recipe_to_rounded_weights_is_refused(assignment) -> None:
    with pytest.raises(InputError, match=f"^--set .*{ADVICE}"):
        override(make(), assignment)


def test_llm2vec_s_json_too(tmp_path) -> None:
    with pytest.raises(InputError, match=f"load_in_4bit: True is not supported; {ADVICE}"):
        read_recipe(write(tmp_path, {**MNTP, "load_in_4bit": True}))


def test_an_adapter_takes_four_bits() -> None:
    changed = override(make(), "stages.*.adapter.load_in_4bit=true")
    assert [stage.adapter.load_in_4bit for stage in changed.stages] == [True] * len(changed.stages)
    with pytest.raises(InputError, match=r"load_in_4bit: init_lora_weights needs whole weights; leave one of the two out"):
        override(changed, "stages.*.adapter.init_lora_weights=pissa")
    with pytest.raises(InputError, match=r"load_in_4bit: train_whole needs whole weights; leave one of the two out"):
        override(changed, "stages.*.adapter.train_whole=[embed]")


def test_rounded_vectors_and_usual_types_are_not_meant() -> None:
    changed = override(make(), ["stages.simcse.objective.quantize=[int8]", "dtype=bfloat16"])
    assert changed.stages[1].objective.quantize == ("int8",)
