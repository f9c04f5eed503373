"""The families table on a handful of families that stand for all mechanisms; the whole table is a
command.
"""

import pytest
from transformers import CONFIG_MAPPING, AutoConfig

from bothways.backbone.family import family_proof
from bothways.backbone.family.families import FamilyRow, check_supported, measure_families, to_markdown
from bothways.errors import InputError, UnsupportedFamily

EXPECTED = {
    "llama": ("packed", False, False),
    "qwen3": ("packed", True, False),
    "mistral": ("packed", True, False),  # one window for all layers
    "gemma2": ("packed", True, False),  # soft-capping
    "gemma3_text": ("packed", True, False),  # a RoPE base of its own in windowed layers
    "cohere2": ("packed", True, False),  # RoPE in windowed layers only
    "gpt_oss": ("packed", True, False),  # sinks and experts
    "gptj": ("padded", False, False),  # attention inside its modelling code
    "stablelm": ("packed", False, True),  # silently causal under stock SDPA
}


@pytest.mark.parametrize("family", EXPECTED)
def test_representative_families_are_proven(family):
    (row,) = measure_families([family])
    assert row.verdict == "proven", row.reason
    assert (row.execution, row.windows, row.needs_eager) == EXPECTED[family]


def test_encoders_are_proven_and_not_counted_as_decoders():
    (row,) = measure_families(["bert"])
    assert row.verdict == "not a text decoder" and row.execution == "packed" and "proven, nothing to switch" in row.reason


REFUSED = [
    *("jamba", "mamba", "mamba2", "zamba2", "bamba", "recurrent_gemma", "qwen3_next", "qwen3_5_text", "lfm2", "falcon_h1"),
    *("nemotron_h", "rwkv", "xlstm", "granitemoehybrid", "minimax", "gpt_neo", "openai-gpt", "falcon_mamba", "kimi_linear"),
]


@pytest.mark.parametrize("family", REFUSED)
def test_families_no_mask_can_turn_are_refused_by_name_with_the_reason(family):
    with pytest.raises(UnsupportedFamily, match=rf"^{family} cannot be made bidirectional: it \w+"):
        check_supported(CONFIG_MAPPING[family]())
    (row,) = measure_families([family])
    assert row.verdict == "refused" and row.reason


def test_the_text_part_of_a_composite_is_what_counts():
    with pytest.raises(UnsupportedFamily, match="qwen3_5_text"):
        check_supported(CONFIG_MAPPING["qwen3_5"]())


def test_an_unknown_family_with_a_linear_layer_is_refused_by_its_structure():
    config = AutoConfig.for_model("llama")
    check_supported(config)
    config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(UnsupportedFamily, match="linear-attention"):
        check_supported(config)


@pytest.mark.parametrize("family", [*EXPECTED, "bert", "roberta", "gpt2", "qwen2", "phi3", "llama4_text"])
def test_supported_families_pass_the_door(family):
    assert check_supported(CONFIG_MAPPING[family]()) is None


def test_misspelt_names_are_refused_with_a_suggestion():
    with pytest.raises(InputError, match="did you mean 'llama'"):
        measure_families(["lama"])


def test_a_family_that_takes_too_long_is_reported(monkeypatch):
    monkeypatch.setattr(family_proof, "prove_family", lambda family: [None for _ in iter(int, 1)])
    (row,) = measure_families(["llama"], limit_s=0.2)
    assert row.verdict == "failed" and "not finished after" in row.reason


def test_markdown_counts_and_lists_every_row():
    rows = [
        FamilyRow("llama", "proven", "packed"),
        FamilyRow("stablelm", "proven", "packed", needs_eager=True, reason="a | b"),
        FamilyRow("mamba", "refused", reason="recurrent"),
    ]
    text = to_markdown(rows)
    assert "**2 proven**, 1 others" in text
    assert "| stablelm | packed | – | eager | a \\| b |" in text
    assert "## Refused (1)" in text and "| mamba |  | recurrent |" in text
