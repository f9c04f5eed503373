"""GGUF files become ordinary weights: the right numbers, savable, and texts cut as in training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from bothways.backbone.loading import gguf_source
from bothways.backbone.loading.gguf_source import read_gguf
from bothways.backbone.loading.sources import load_pretrained
from bothways.errors import MissingExtra, SourceError
from tiny import SENTENCES, tiny_gguf, tiny_llama, tiny_tokenizer

gguf = pytest.importorskip("gguf", reason="the gguf package is not installed")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("gguf") / "llama", tie_word_embeddings=False, tokenizer={"vocab_size": 900})


@pytest.fixture(scope="module")
def q8(llama: Path) -> Path:
    return tiny_gguf(llama.parent / "tiny.Q8_0.gguf", llama)


def test_float32_file_gives_the_original_weights(llama: Path, tmp_path: Path) -> None:
    causal, _ = read_gguf(tiny_gguf(tmp_path / "f32.gguf", llama, quantised=False), dtype=torch.float32)
    expected = AutoModelForCausalLM.from_pretrained(str(llama)).state_dict()
    found = causal.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_quantised_weights_are_those_that_ggml_defines(llama: Path, q8: Path) -> None:
    causal, _ = read_gguf(q8, dtype=torch.float32)
    original = AutoModelForCausalLM.from_pretrained(str(llama)).state_dict()
    for key, weight in causal.state_dict().items():
        if weight.dim() != 2:
            assert torch.equal(weight, original[key])
            continue
        # Q8_0: per 32 values one float16 scale = max/127, rounded to the nearest of 255 steps; half
        # a step, and 2^-11 for the scale
        blocks = original[key].reshape(-1, 32)
        step = blocks.abs().amax(1, keepdim=True) / 127
        assert bool(((weight.reshape(-1, 32) - blocks).abs() <= step * (0.5 + 127 * 2**-11 + 1e-3)).all()), key
        assert not torch.equal(weight, original[key])


def test_load_save_load_is_bit_equal(q8: Path, tmp_path: Path) -> None:
    first = load_pretrained(q8, dtype="float32", head=True)
    first.model.save_pretrained(str(tmp_path / "saved"))
    first.tokenizer.save_pretrained(str(tmp_path / "saved"))
    second = load_pretrained(tmp_path / "saved", dtype="float32")
    before, after = first.model.state_dict(), second.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert set(load_file(tmp_path / "saved" / "model.safetensors")) == set(before)
    assert "quantization_config" not in json.loads((tmp_path / "saved" / "config.json").read_text())
    plain = AutoModel.from_pretrained(str(tmp_path / "saved"))
    ids = torch.arange(1, 20)[None]
    assert torch.equal(plain(input_ids=ids).last_hidden_state, first.model(input_ids=ids).last_hidden_state)


@pytest.mark.parametrize("newer", [True, False])
def test_whole_causal_lm_can_be_saved_too(newer: bool, q8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not newer:
        # versions without GgufConfig leave a quantizer on the model
        monkeypatch.setattr(gguf_source, "_dense", dict)
    causal, _ = read_gguf(q8, dtype=torch.float32)
    causal.save_pretrained(str(tmp_path / "saved"))
    again = AutoModelForCausalLM.from_pretrained(str(tmp_path / "saved")).state_dict()
    assert all(torch.equal(again[key], weight) for key, weight in causal.state_dict().items())
    assert not hasattr(causal.config, "quantization_config")


def test_weights_can_be_trained(q8: Path) -> None:
    loaded = load_pretrained(q8, dtype="float32")
    assert all(parameter.is_floating_point() and parameter.requires_grad for parameter in loaded.model.parameters())
    assert not getattr(loaded.model, "is_quantized", False)
    loaded.model(input_ids=torch.arange(1, 9)[None]).last_hidden_state.sum().backward()
    assert all(parameter.grad is not None for parameter in loaded.model.parameters())


def test_requested_dtype_and_overrides_hold(q8: Path) -> None:
    loaded = load_pretrained(q8, dtype="bfloat16", config_overrides={"attention_dropout": 0.25})
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}
    assert loaded.model.config.attention_dropout == 0.25


def test_texts_are_cut_as_the_vocabulary_was_trained(llama: Path, tmp_path: Path) -> None:
    texts = [*SENTENCES, "a\n\n1", "x   12  3", "1984", "\t\t7up", "½ ²³ Ⅷ", "naïve 😀  today"]
    trained_gpt2 = AutoTokenizer.from_pretrained(str(llama))
    _, plain = read_gguf(tiny_gguf(tmp_path / "gpt2.gguf", llama, pre="gpt-2"), dtype=torch.float32)
    assert [plain(text)["input_ids"] for text in texts] == [trained_gpt2(text)["input_ids"] for text in texts]

    _, digits = read_gguf(tiny_gguf(tmp_path / "smollm.gguf", llama, pre="smollm"), dtype=torch.float32)
    for text in texts:
        # cut at numeric characters by hand; each piece alone then goes through the GPT-2 tokenizer
        pieces = [""]
        for character in text:
            pieces += [character, ""] if character.isnumeric() else []
            pieces[-1] += "" if character.isnumeric() else character
        expected = [index for piece in pieces if piece for index in trained_gpt2(piece)["input_ids"]]
        assert digits(text)["input_ids"] == expected, text
        assert digits.decode(digits(text)["input_ids"]) == text
    assert digits("1984")["input_ids"] != plain("1984")["input_ids"]


def test_pre_tokenizer_survives_saving(llama: Path, tmp_path: Path) -> None:
    _, tokenizer = read_gguf(tiny_gguf(tmp_path / "smollm.gguf", llama), dtype=torch.float32)
    tokenizer.save_pretrained(str(tmp_path / "saved"))
    again = AutoTokenizer.from_pretrained(str(tmp_path / "saved"))
    for text in ("a\n\n1", "x   12  3", *SENTENCES):
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_unknown_pre_tokenizer_is_said(caplog: pytest.LogCaptureFixture) -> None:
    gguf_source.restore_pre_tokenizer(tiny_tokenizer(), "never-heard-of")
    assert "never-heard-of" in caplog.text
    caplog.clear()
    gguf_source.restore_pre_tokenizer(tiny_tokenizer(), "gpt-2")
    assert not caplog.text


def test_not_a_gguf_file(tmp_path: Path) -> None:
    path = tmp_path / "page.gguf"
    path.write_text("<html>404</html>")
    with pytest.raises(SourceError, match="not a GGUF file"):
        load_pretrained(path, dtype="float32")


def test_truncated_file_is_one_line(q8: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(q8.read_bytes()[:-5000])
    with pytest.raises(SourceError) as caught:
        load_pretrained(path, dtype="float32")
    assert "\n" not in str(caught.value) and "cut.gguf" in str(caught.value)


def test_missing_package_says_what_to_install(q8: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_source.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'bothways\[gguf\]'"):
        load_pretrained(q8, dtype="float32")
