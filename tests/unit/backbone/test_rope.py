"""Position interpolation: the published factor, transformers' own arithmetic, and settings that
every loader finds again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import (
    AutoConfig,
    AutoModel,
    BloomConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PhiConfig,
    PhimoeConfig,
    Qwen2Config,
    Qwen3Config,
)

import bothways as bw
from bothways.backbone.rope import RopeConfig, extended, forget_lengths, trained_positions, with_older_names
from bothways.errors import InputError
from tiny import SENTENCES, TINY, tiny_llama

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64}
THETA = 10000.0


def llama(**changes: Any) -> LlamaConfig:
    return LlamaConfig(**{**SIZES, "num_key_value_heads": 2, "max_position_embeddings": 4096, **changes})


def rope(kind: str = "linear", context: int = 16384, **more: Any) -> RopeConfig:
    return RopeConfig(type=kind, context=context, **more)  # type: ignore[arg-type]


def frequencies(config: Any) -> torch.Tensor:
    return AutoModel.from_config(config).rotary_emb.inv_freq


# --- the factor
# ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "own", "factor"), [(8192, 4096, 2), (8193, 4096, 3), (32768, 4096, 8), (100_000, 4096, 25)]
)
def test_the_factor_is_the_new_context_over_the_old_one_rounded_up(context: int, own: int, factor: int) -> None:
    found = extended(llama(max_position_embeddings=own), rope(context=context), "x")
    assert found["rope_parameters"] == {"rope_theta": THETA, "rope_type": "linear", "factor": float(factor)}
    assert found["max_position_embeddings"] == context


def test_a_context_that_the_model_reads_already_changes_nothing() -> None:
    assert extended(llama(), rope(context=4096), "x") == {}
    assert extended(llama(), rope(context=100), "x") == {}


def test_neither_does_it_where_positions_are_of_another_kind() -> None:
    """llama3's, one kind per layer, or stretched already: what needs no change meets no refusal."""
    within = [
        llama(rope_parameters=LLAMA3, max_position_embeddings=32768),
        Gemma3TextConfig(**SIZES, num_key_value_heads=2, max_position_embeddings=32768),
        llama(**extended(llama(), rope(context=32768), "x")),
        llama(**extended(llama(), rope("yarn", 32768), "x")),
        GPT2Config(n_embd=32, n_layer=1, n_head=2, n_positions=32768),
    ]
    for config in within:
        assert extended(config, rope(context=32768), "x") == {}
        with pytest.raises(InputError, match="rope: x"):
            extended(config, rope(context=32769), "x")


def test_linear_reads_a_stretched_text_as_the_short_one() -> None:
    config = llama()
    base = AutoModel.from_config(config)
    overrides = extended(config, rope(context=16384), "x")
    stretched = AutoModel.from_config(llama(**overrides))
    state, places = torch.zeros(1, 5, 8), torch.arange(5)[None]
    # position 4 p of the stretched model is position p of the base
    for one, other in zip(base.rotary_emb(state, places), stretched.rotary_emb(state, 4 * places)):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn"])
def test_settings_are_those_that_transformers_documents(kind: str) -> None:
    """Against a config written by hand in the library's own words."""
    by_hand: dict[str, Any] = {"rope_type": kind, "rope_theta": THETA, "factor": 4.0}
    if kind == "yarn":
        by_hand["original_max_position_embeddings"] = 4096
    positions = 4096 if kind == "dynamic" else 16384
    expected = AutoModel.from_config(llama(rope_parameters=by_hand, max_position_embeddings=positions)).rotary_emb
    found = AutoModel.from_config(llama(**extended(llama(), rope(kind), "x"))).rotary_emb
    assert torch.equal(found.inv_freq, expected.inv_freq)
    assert found.attention_scaling == expected.attention_scaling
    state, far = torch.zeros(1, 1, 8), torch.tensor([[16000]])
    assert torch.equal(found(state, far)[0], expected(state, far)[0])
    plain = AutoModel.from_config(llama(max_position_embeddings=16384)).rotary_emb
    assert not torch.equal(found(state, far)[0], plain(state, far)[0])


def test_a_second_stretch_needs_its_factor_said() -> None:
    once = llama(**extended(llama(), rope("yarn", 8192), "x"))
    with pytest.raises(InputError, match=r"rope: x is already interpolated \(yarn, factor 2.0\); give rope\.factor"):
        extended(once, rope("yarn"), "x")
    found = extended(once, rope("yarn", factor=4.0), "x")
    assert found["rope_parameters"]["original_max_position_embeddings"] == 4096
    assert (found["rope_parameters"]["factor"], found["max_position_embeddings"]) == (4.0, 16384)


@pytest.mark.parametrize(
    ("kind", "other"), [("linear", "yarn"), ("linear", "dynamic"), ("yarn", "linear"), ("yarn", "dynamic")]
)
def test_a_second_stretch_keeps_the_type_of_the_first(kind: str, other: str) -> None:
    """The weights know no other; and yarn over linear would take the stretched length for that of
    the first training.
    """
    once = llama(**extended(llama(), rope(kind, 8192), "x"))
    wish = RopeConfig(context=16384, factor=4.0)
    assert wish.type is None
    found = extended(once, wish, "x")
    assert (found["rope_parameters"]["rope_type"], found["max_position_embeddings"]) == (kind, 16384)
    with pytest.raises(
        InputError, match=f"rope: x was trained with {kind} positions, not {other}; set rope.type {kind}"
    ) as caught:
        extended(once, rope(other, factor=4.0), "x")
    assert "\n" not in str(caught.value)


def test_dynamic_positions_may_be_followed_by_any() -> None:
    """They are the first training's up to its length."""
    once = llama(**extended(llama(), rope("dynamic", 8192), "x"))
    assert extended(once, rope("yarn", factor=4.0), "x")["rope_parameters"]["original_max_position_embeddings"] == 4096
    found = extended(once, rope("dynamic", factor=4.0), "x")
    assert (found["rope_parameters"]["factor"], found["max_position_embeddings"]) == (4.0, 4096)


def test_partial_rotation_is_kept() -> None:
    config = PhiConfig(**SIZES, max_position_embeddings=2048)
    kept = config.rope_parameters["partial_rotary_factor"]
    assert kept < 1
    assert extended(config, rope(), "x")["rope_parameters"]["partial_rotary_factor"] == kept


def test_another_stretch_by_yarn_keeps_the_rest_of_the_settings() -> None:
    own = {
        "rope_type": "yarn",
        "rope_theta": 150000.0,
        "factor": 2.0,
        "original_max_position_embeddings": 4096,
        "attention_factor": 1.2,
        "beta_fast": 16.0,
        "truncate": False,
        "mscale": 0.7,
        "llama_4_scaling_beta": 0.1,
    }
    once = llama(rope_parameters=own, max_position_embeddings=8192)
    found = extended(once, rope("yarn", factor=4.0), "x")["rope_parameters"]
    # 0.1 ln(factor) + 1 where none is given; the old factor's would be wrong
    assert found == {key: value for key, value in {**own, "factor": 4.0}.items() if key != "attention_factor"}


def test_dynamic_positions_forget_the_texts_before() -> None:
    state, places = torch.zeros(1, 1, 8), torch.arange(8)[None]
    config = llama(**extended(llama(max_position_embeddings=4), rope("dynamic", 64), "x"))
    layers = [AutoModel.from_config(config) for _ in range(2)]
    expected = layers[0].rotary_emb(state, places)[0]
    longer = layers[1].rotary_emb(state, torch.arange(64)[None])[0]
    kept = layers[1].rotary_emb(state, places)[0]
    assert torch.equal(kept, longer[:, :8])
    assert not torch.allclose(kept, expected, atol=1e-3)
    forget_lengths(layers[1])
    assert torch.equal(layers[1].rotary_emb(state, places)[0], expected)
    # positions that do not grow stay
    still = AutoModel.from_config(llama(**extended(llama(), rope(), "x")))
    before = still.rotary_emb.inv_freq.clone()
    forget_lengths(still)
    assert torch.equal(still.rotary_emb.inv_freq, before)


# --- with an adapter
# -----------------------------------------------------------------------------------------------------------


def test_an_adapters_positions_fill_what_a_wish_leaves_open() -> None:
    own = rope("yarn", 8192, factor=4.0)
    assert trained_positions({"context": 8192}, own, "a") == own
    assert trained_positions({"context": 100, "type": None, "factor": None}, own, "a") == own
    assert trained_positions(rope("yarn", 100), own, "a") == own
    assert trained_positions({"context": 32768, "factor": 8.0}, own, "a") == rope("yarn", 32768, factor=8.0)
    assert trained_positions({"context": 32768}, None, "a") == RopeConfig(context=32768)
    for wish in ({"context": 8192, "type": "linear"}, rope("linear", 8192)):
        with pytest.raises(InputError, match=r"rope\.type: a was trained with yarn positions, not linear; set yarn"):
            trained_positions(wish, own, "a")


# --- refusals
# ------------------------------------------------------------------------------------------------------------------

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": THETA,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 4096,
}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (GPT2Config(n_embd=32, n_layer=1, n_head=2), r"rope: x \(gpt2\) has no rotary positions"),
        (BloomConfig(hidden_size=32, n_layer=1, n_head=2), r"rope: x \(bloom\) has no rotary positions"),
        (Gemma3TextConfig(**SIZES, num_key_value_heads=2), "rotary settings per layer type"),
        (llama(rope_parameters=LLAMA3), r"positions for long texts, of its own kind \(llama3\)"),
        # loads and trains with them, and cannot be saved
        (Phi3Config(**SIZES, pad_token_id=0), r"rope: x \(phi3\) cannot have linear positions: .*longrope.*; leave rope out"),
        (PhimoeConfig(**SIZES), r"rope: x \(phimoe\) cannot have linear positions: "),
    ],
)
def test_refusals_in_one_line(config: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        extended(config, rope(context=10**6), "x")
    assert "\n" not in str(caught.value)


def test_wrong_values_name_the_key() -> None:
    with pytest.raises(InputError, match=r"rope: unknown key 'factr'; did you mean 'factor'"):
        RopeConfig.of({"context": 4096, "factr": 2.0})
    with pytest.raises(ValidationError):
        rope(factor=0.5)


# --- in models, saved and loaded
# -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MistralConfig, Qwen2Config, Qwen3Config, PhiConfig, GPTNeoXConfig])
def test_families_take_the_setting(kind: Any) -> None:
    config = kind(**SIZES, max_position_embeddings=64)
    before = frequencies(config)
    found = extended(config, rope(context=256), "x")
    for name, value in found.items():
        setattr(config, name, value)
    torch.testing.assert_close(frequencies(config), before / 4)


@pytest.mark.parametrize("kind", ["linear", "yarn"])
def test_an_encoder_keeps_its_positions_in_every_loader(tmp_path: Path, kind: str) -> None:
    from sentence_transformers import SentenceTransformer

    base = tiny_llama(tmp_path / "base", max_position_embeddings=16)
    texts = [" ".join(SENTENCES), SENTENCES[0]]
    encoder = bw.convert(base, rope={"type": kind, "context": 512}, max_length=512, dtype="float32", device="cpu")
    assert encoder.max_length == 512
    vectors = encoder.encode(texts)
    unstretched = bw.convert(base, dtype="float32", device="cpu")
    assert unstretched.max_length == 16
    unstretched.options.max_length = 512
    assert np.abs(vectors - unstretched.encode(texts)).max() > 1e-3
    encoder.save(tmp_path / "out")
    assert np.array_equal(bw.load(tmp_path / "out", dtype="float32", device="cpu").encode(texts), vectors)
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(texts)
    np.testing.assert_allclose(theirs, vectors, atol=1e-5)
    loaded = AutoConfig.from_pretrained(tmp_path / "out")
    assert loaded.rope_parameters == encoder.backbone.config.rope_parameters
    assert loaded.rope_parameters["rope_type"] == kind


def test_loaders_before_transformers_5_find_their_names(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base", max_position_embeddings=16)
    bw.convert(base, rope={"context": 64}, dtype="float32", device="cpu").save(tmp_path / "out")
    values = json.loads((tmp_path / "out" / "config.json").read_text())
    assert values["rope_scaling"] == {"rope_type": "linear", "factor": 4.0}
    assert values["rope_theta"] == THETA
    # read by the older names alone, the settings are the same
    del values["rope_parameters"]
    assert AutoConfig.for_model(**values).rope_parameters == {"rope_type": "linear", "factor": 4.0, "rope_theta": THETA}


def test_unstretched_positions_have_their_older_names_too() -> None:
    """Loaders before transformers 5 would take their own default of 10,000 for the base of the
    frequencies.
    """
    values = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5}, "x": 1}
    assert with_older_names(values) == {**values, "rope_theta": 1e6, "partial_rotary_factor": 0.5}
    per_layer = {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e6}}}
    for nothing in (per_layer, {"n_positions": 4}):
        assert with_older_names(nothing) == nothing


def test_dynamic_encoders_stay_within_the_length_where_frequencies_are_fixed(tmp_path: Path) -> None:
    """Beyond it, a text's frequencies would follow the longest text of its pass."""
    base = tiny_llama(tmp_path / "base", **{**TINY, "max_position_embeddings": 16})
    rope = {"type": "dynamic", "context": 64}
    with pytest.raises(InputError, match="would depend on the others; use linear or yarn"):
        bw.convert(base, rope=rope, max_length=64, dtype="float32", device="cpu")
    encoder = bw.convert(base, direction="causal", rope=rope, max_length=64, dtype="float32", device="cpu")
    assert encoder.max_length == 16
    texts = [" ".join(SENTENCES), SENTENCES[0][:20]]
    together = encoder.encode(texts)
    np.testing.assert_allclose(together[1], encoder.encode(texts[1]), atol=1e-6)


def test_gguf_takes_the_setting(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    from tiny import tiny_gguf

    file = tiny_gguf(tmp_path / "x.gguf", tiny_llama(tmp_path / "base", max_position_embeddings=16), quantised=False)
    encoder = bw.convert(file, rope={"context": 64}, dtype="float32", device="cpu")
    assert encoder.backbone.config.rope_parameters["factor"] == 4.0
    torch.testing.assert_close(encoder.backbone.rotary_emb.inv_freq[0], torch.tensor(0.25))
