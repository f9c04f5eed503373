"""Which script a configuration is for, and which of its keys have a meaning."""

from __future__ import annotations

from typing import Any

import pytest

from bothways.errors import InputError
from bothways.training.recipe.llm2vec_keys import SCRIPTS, is_llm2vec_json, kind_of, sort_keys


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"mlm_probability": 0.2}, "mntp"),
        ({"simcse_dropout": 0.3}, "simcse"),
        ({"loss_scale": 20, "dataset_name": "E5"}, "supervised"),
        # run_simcse.py's dropout decides, whatever the data is called
        ({"simcse_dropout": 0.3, "dataset_name": "E5"}, "simcse"),
    ],
)
def test_the_keys_tell_the_script(values: dict[str, Any], kind: str) -> None:
    assert is_llm2vec_json(values)
    assert kind_of(values, "c.json") == kind


def test_a_recipe_is_not_a_configuration() -> None:
    assert not is_llm2vec_json({"stages": [], "mlm_probability": 0.2})
    assert not is_llm2vec_json({"name": "x"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"mlm_probability": 0.2, "loss_scale": 20},
            r"c\.json: mixes keys of mntp \(mlm_probability\) and simcse \(loss_scale\)",
        ),
        ({"output_dir": "x"}, r"c\.json: neither an mntp nor"),
        ({"cls_addr": "x"}, "word-level probe"),
    ],
)
def test_configurations_of_no_script_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind_of(values, "c.json")


def test_keys_are_separated_and_misspelled_ones_named() -> None:
    ours, ignored = sort_keys({"lora_r": 4, "report_to": "none"}, SCRIPTS["mntp"], "c.json")
    assert (ours, ignored) == ({"lora_r": 4}, ["report_to"])
    with pytest.raises(InputError, match=r"c\.json: unknown key 'lora_rr'; did you mean 'lora_r'"):
        sort_keys({"lora_rr": 4}, SCRIPTS["mntp"], "c.json")
