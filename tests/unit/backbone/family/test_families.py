"""The families table on a handful of families that stand for all mechanisms; the whole table is a
command.
"""

import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel

import bothways as bw
from bothways.attention.direction import set_direction
from bothways.backbone.family import family_proof
from bothways.backbone.family.families import FamilyRow, check_supported, measure_families, to_markdown
from bothways.encoder.proof.doctor import doctor
from bothways.errors import InputError, UnsupportedFamily
from export_models import small_model
from tiny import SENTENCES

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
    with pytest.raises(UnsupportedFamily, match="; with direction causal it can become a causal encoder"):
        check_supported(CONFIG_MAPPING[family]())
    check_supported(CONFIG_MAPPING[family](), "causal")


@pytest.mark.parametrize("family", ["gpt_neo", "mpt", "lfm2", "qwen3_next"])
def test_such_families_are_proven_as_causal_encoders(family):
    (row,) = measure_families([family])
    assert (row.verdict, row.execution) == ("refused", "padded")
    assert row.reason.endswith("; causal: proven")


def test_a_family_that_is_neither_is_refused_in_both_directions():
    (row,) = measure_families(["cpmant"])
    assert row.reason.endswith("causal: not proven (token 1 sees the later token 2)")
    with pytest.raises(UnsupportedFamily, match="cpmant cannot be a causal encoder: it shows some later tokens"):
        check_supported(CONFIG_MAPPING["cpmant"](), "causal")
    with pytest.raises(UnsupportedFamily, match=r"whatever mask it is given$"):
        check_supported(CONFIG_MAPPING["cpmant"]())


def test_a_causal_family_that_looked_ahead_would_not_be_proven(monkeypatch):
    monkeypatch.setattr(family_proof, "set_direction", lambda model, direction: real(model, "bidirectional"))
    real = set_direction
    assert "causal: not proven (the saved folder gives other states" in family_proof.prove_as_causal("llama")["reason"]


@pytest.mark.parametrize("family", ["gpt_neo", "mpt", "lfm2", "qwen3_next"])
def test_a_causal_encoder_has_the_states_of_plain_transformers(tmp_path, family):
    """Texts of several lengths in one batch, also from the saved folder and in sentence-transformers."""
    base = small_model(tmp_path / "base", family)
    with pytest.raises(UnsupportedFamily, match="with direction causal it can become"):
        bw.convert(base)
    encoder = bw.convert(base, direction="causal", pooling="last", dtype="float32", device="cpu")
    model = AutoModel.from_pretrained(base, dtype=torch.float32).eval()
    with torch.no_grad():
        right = [model(torch.tensor([row.ids])).last_hidden_state[0, -1].numpy() for row in encoder.tokenize(SENTENCES)]
    assert abs(encoder.encode(SENTENCES) - right).max() < 1e-5
    encoder.save(tmp_path / "saved")
    assert abs(bw.load(tmp_path / "saved", dtype="float32", device="cpu").encode(SENTENCES) - right).max() < 1e-5
    stock = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert abs(stock.encode(SENTENCES) - right).max() < 1e-5
    assert doctor(encoder, quick=True).ok


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
