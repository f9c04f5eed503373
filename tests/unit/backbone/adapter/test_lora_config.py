"""Settings of an adapter: what means nothing is refused, and what peft gets."""

from __future__ import annotations

import pytest

from bothways.backbone.adapter.lora import peft_config
from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.config import parse
from bothways.errors import InputError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"r": 0}, "r: "),
        ({"dropout": 1.0}, "dropout"),
        ({"init_lora_weights": "olora"}, "init_lora_weights"),
        ({"init_lora_weights": "pissa", "use_dora": True}, "leave one of the two out"),
        ({"lora_r": 4}, "unknown key 'lora_r'"),
    ],
)
def test_wrong_values_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        parse(LoraConfig, values, where="adapter")


def test_peft_gets_the_same_settings():
    made = peft_config(LoraConfig(r=4, alpha=6, use_rslora=True, init_lora_weights="pissa"), ["q_proj"])
    assert (made.r, made.lora_alpha, made.use_rslora, made.use_dora, made.init_lora_weights) == (4, 6, True, False, "pissa")
    assert peft_config(LoraConfig(), ["q_proj"]).init_lora_weights is True
