"""adapter_config.json of any trainer: fields that could not be followed are refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig

from bothways.backbone.adapter.adapter_config import read_adapter_config
from bothways.errors import InputError

NAME = "adapter_config.json"


def write(folder: Path, **fields: Any) -> Path:
    values = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], **fields}
    (folder / NAME).write_text(json.dumps({name: value for name, value in values.items() if value != "absent"}))
    return folder


def test_what_peft_writes_is_read_for_a_plain_model(tmp_path: Path) -> None:
    written = LoraConfig(
        r=3, lora_alpha=5, target_modules=["q_proj", "v_proj"], use_rslora=True, task_type="CAUSAL_LM", rank_pattern={"q": 2}
    )
    written.base_model_name_or_path = "org/base"
    written.save_pretrained(str(tmp_path))
    found = read_adapter_config(tmp_path)
    assert isinstance(found, LoraConfig)
    assert (found.r, found.lora_alpha, set(found.target_modules), found.use_rslora) == (3, 5, {"q_proj", "v_proj"}, True)
    assert found.rank_pattern == {"q": 2}
    assert (found.inference_mode, found.task_type, found.base_model_name_or_path) == (True, None, None)


def test_fields_of_other_trainers_that_act_only_in_training(tmp_path: Path) -> None:
    assert read_adapter_config(write(tmp_path, unsloth_fixed=True, lora_dtype="float32", somebodys=None)).r == 4
    assert read_adapter_config(write(tmp_path, peft_type="absent")).peft_type.value == "LORA", "older files do not name it"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"peft_type": "LORRA"}, "peft_type 'LORRA' is not one of peft's"),
        ({"peft_type": 3}, "peft_type 3 is not one of peft's"),
        ({"new_scaling": 2}, r"the field 'new_scaling' \(2\) is unknown to this peft, so it would be ignored"),
        ({"layer_replication": [[0, 2]]}, "layer_replication is set, which gives the model more layers"),
        ({"r": "4"}, "r must be a number, and is '4'"),
        ({"lora_alpha": True}, "lora_alpha must be a number, and is True"),
        ({"rank_pattern": {"q": "high"}}, "rank_pattern must map module names to numbers"),
        (
            {"peft_type": "PROMPT_TUNING", "r": "absent", "lora_alpha": "absent", "target_modules": "absent"},
            "adds inputs or layers at run time",
        ),
    ],
)
def test_what_cannot_be_followed_is_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_adapter_config(write(tmp_path, **fields))
    assert NAME in str(caught.value) and "\n" not in str(caught.value)
