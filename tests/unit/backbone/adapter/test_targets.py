"""Targets: the layers that a name, all-linear and attention select."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModel, BertConfig, GPT2Config, LlamaConfig, Phi3Config, Qwen2MoeConfig

from bothways.backbone.adapter import lora
from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.errors import InputError

TINY = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64}

SEVEN = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def tiny(config=None, seed: int = 0):
    torch.manual_seed(seed)
    return AutoModel.from_config(config or LlamaConfig(**TINY, num_key_value_heads=2)).eval()


def test_all_linear_is_the_published_seven_for_llama() -> None:
    names = lora.target_names(tiny(), LoraConfig())
    assert {name.split(".")[-1] for name in names} == SEVEN
    assert len(names) == 2 * len(SEVEN)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=64), {"c_attn", "c_proj", "c_fc"}),
        (BertConfig(**TINY), {"query", "key", "value", "dense"}),
    ],
    ids=["gpt2", "bert"],
)
def test_other_families_stay_inside_their_blocks(config, expected: set[str]) -> None:
    names = lora.target_names(tiny(config), LoraConfig())
    assert {name.split(".")[-1] for name in names} == expected
    assert not any("pooler" in name or "embeddings" in name for name in names)


def test_an_expert_list_as_long_as_the_model_does_not_hide_the_blocks() -> None:
    config = Qwen2MoeConfig(
        **TINY, num_key_value_heads=2, num_experts=2, moe_intermediate_size=16, shared_expert_intermediate_size=16
    )
    names = lora.target_names(tiny(config), LoraConfig())
    assert len(names) == len(set(names))
    assert {"q_proj", "o_proj"} <= {name.split(".")[-1] for name in names}


def test_chosen_targets_and_a_wrong_one() -> None:
    names = lora.target_names(tiny(), LoraConfig(targets=("q_proj", "v_proj")))
    assert {name.split(".")[-1] for name in names} == {"q_proj", "v_proj"}
    with pytest.raises(InputError, match=r"adapter\.targets.*q_proj"):
        lora.target_names(tiny(), LoraConfig(targets=("query",)))


def test_every_target_must_be_there_and_is_matched_as_peft_matches_it() -> None:
    with pytest.raises(InputError, match=r"adapter\.targets: no linear layer .* named 'k_porj'; there are .*k_proj, o_proj"):
        lora.target_names(tiny(), LoraConfig(targets=("q_proj", "k_porj")))
    # the end of a word is not its name: Phi-3 has one qkv_proj
    fused = tiny(Phi3Config(**TINY, num_key_value_heads=2, pad_token_id=0))
    with pytest.raises(InputError, match=r"named 'v_proj'; there are down_proj, gate_up_proj, o_proj, qkv_proj"):
        lora.target_names(fused, LoraConfig(targets=("v_proj",)))
    assert {name.split(".", 2)[2] for name in lora.target_names(fused, LoraConfig(targets=("self_attn.o_proj",)))} == {
        "self_attn.o_proj"
    }
