"""Published LLM2Vec folders against a plain implementation of the authors' code path: PeftModel
merged step by step, an eager 4-D mask of zeros, left padding, the separator that marks where the
text begins.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

import bothways as bw
from bothways.encoder.folder.llm2vec import is_llm2vec
from bothways.encoder.texts.wrapping import Wrapper
from bothways.errors import InputError
from bothways.folder_files import LLM2VEC
from tiny import SENTENCES, tiny_llama

PAIRS = [("", text) for text in SENTENCES] + [("Find the answer:", text) for text in SENTENCES[:4]]
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SETTINGS = {"pooling_mode": "mean", "max_length": 512, "doc_max_length": 400, "skip_instruction": True}


def adapter(model: Any, folder: Path, base: str, seed: int) -> Path:
    """A LoRA adapter with random factors over `model`, saved as peft does."""
    torch.manual_seed(seed)
    wrapped = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS, init_lora_weights=False))
    wrapped.save_pretrained(str(folder))
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": base}))
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True})


@pytest.fixture
def published(base: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The MNTP folder (adapter, tokenizer, settings) and the adapter trained on top of it."""
    first = adapter(AutoModel.from_pretrained(base), tmp_path / "mntp", str(base), 1)
    merged = PeftModel.from_pretrained(AutoModel.from_pretrained(base), str(first)).merge_and_unload()
    second = adapter(merged, tmp_path / "simcse", str(base), 2)
    AutoTokenizer.from_pretrained(base).save_pretrained(first)
    (first / LLM2VEC).write_text(json.dumps(SETTINGS))
    return first, second


def authors_way(base: Path, adapters: list[Path], pairs: list[tuple[str, str]], mode: str = "mean") -> np.ndarray:
    model: Any = AutoModel.from_pretrained(base, attn_implementation="eager", dtype=torch.float32)
    for folder in adapters:
        model = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
    strings = [f"{instruction.strip()} {text}" if instruction else text for instruction, text in pairs]
    inputs = tokenizer(strings, return_tensors="pt", padding=True)
    seen = inputs["attention_mask"]
    low = torch.finfo(torch.float32).min
    mask = torch.zeros(len(pairs), 1, *2 * seen.shape[1:]).masked_fill(seen[:, None, None] == 0, low)
    positions = (seen.cumsum(1) - 1).clamp_min(0)
    with torch.no_grad():
        states = model(input_ids=inputs["input_ids"], attention_mask=mask, position_ids=positions).last_hidden_state
    vectors = []
    for (_, text), own in zip(pairs, states):
        count = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        kept = own[-count:]
        weights = torch.arange(1, count + 1) if mode == "weighted_mean" else torch.ones(count)
        vectors.append(own[-1] if mode == "last_token" else (kept * weights[:, None]).sum(0) / weights.sum())
    return torch.stack(vectors).numpy()


@pytest.mark.parametrize("mode", ["mean", "weighted_mean", "last_token"])
def test_one_adapter_and_two(base: Path, published, mode: str) -> None:
    first, second = published
    (first / LLM2VEC).write_text(json.dumps({**SETTINGS, "pooling_mode": mode}))
    for adapters in ([first], [first, second]):
        encoder = bw.load(first, adapter=adapters[1] if len(adapters) > 1 else None, dtype="float32", device="cpu")
        expected = authors_way(base, adapters, PAIRS, mode)
        assert np.abs(encoder.encode(PAIRS) - expected).max() < 2e-5
        assert [stage["name"] for stage in encoder.provenance["stages"]] == [folder.name for folder in adapters]
        assert not any("lora" in name for name, _ in encoder.named_parameters())
    assert np.abs(authors_way(base, [first], PAIRS, mode) - expected).max() > 1e-2


def test_it_is_an_encoder_like_any_other(published, tmp_path: Path) -> None:
    first, second = published
    encoder = bw.load(first, adapter=second, dtype="float32", device="cpu")
    assert (encoder.direction, encoder.max_length, encoder.options.pool_bos) == ("bidirectional", 512, False)
    assert bw.doctor(encoder, quick=True).ok
    encoder.save(tmp_path / "out")
    again = bw.load(tmp_path / "out", dtype="float32", device="cpu")
    assert (again.encode(PAIRS) == encoder.encode(PAIRS)).all()
    assert again.options == encoder.options
    assert again.provenance["source"] == "llm2vec"


def test_adapters_trained_on_the_whole_causal_lm(base: Path, tmp_path: Path) -> None:
    """Their weights are named from the decoder's owner: base_model.model.model.layers…"""
    folder = adapter(AutoModelForCausalLM.from_pretrained(base), tmp_path / "whole", str(base), 3)
    (folder / LLM2VEC).write_text(json.dumps(SETTINGS))
    causal = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folder)).merge_and_unload()
    encoder = bw.load(folder, dtype="float32", device="cpu")
    own = encoder.backbone.state_dict()
    for name, value in causal.model.state_dict().items():
        torch.testing.assert_close(own[name], value)


def test_folders_without_settings_have_the_authors_defaults(base: Path, published) -> None:
    """What the authors publish: an adapter beside a config that names their modelling code."""
    first, second = published
    (first / LLM2VEC).unlink()
    assert not is_llm2vec(first)
    with pytest.raises(InputError, match="a PEFT adapter, not an encoder"):
        bw.load(first)
    config = json.loads((base / "config.json").read_text())
    code = "McGill-NLP/LLM2Vec-mntp--modeling_llama_encoder.LlamaEncoderModel"
    (first / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": code}}))
    encoder = bw.load(first, dtype="float32", device="cpu")
    assert (encoder.pooling.mode, encoder.max_length) == ("mean", 512)
    assert np.abs(encoder.encode(PAIRS) - authors_way(base, [first], PAIRS)).max() < 2e-5
    # settings of the second adapter go first
    (second / LLM2VEC).write_text(json.dumps({**SETTINGS, "pooling_mode": "weighted_mean", "max_length": 64}))
    both = bw.load(first, adapter=second, dtype="float32", device="cpu")
    assert (both.pooling.mode, both.max_length) == ("weighted_mean", 64)


def test_a_merged_model_is_its_own_base(base: Path, tmp_path: Path) -> None:
    AutoModel.from_pretrained(base).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path)
    (tmp_path / LLM2VEC).write_text(json.dumps(SETTINGS))
    encoder = bw.load(tmp_path, dtype="float32", device="cpu")
    assert np.abs(encoder.encode(PAIRS) - authors_way(base, [], PAIRS)).max() < 2e-5


@pytest.mark.parametrize(
    ("name", "mode", "wrapper"),
    [
        ("meta-llama/Meta-Llama-3-8B-Instruct", "mean", ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>", " ")),
        ("mistralai/Mistral-7B-Instruct-v0.2", "mean", ("[INST] ", " [/INST]", " ")),
        ("princeton-nlp/Sheared-LLaMA-1.3B", "mean", ("", "", " ")),
        ("princeton-nlp/Sheared-LLaMA-1.3B", "eos_token", ("", " </s>", " ")),
        ("meta-llama/Meta-Llama-3-8B", "eos_token", ("", "<|end_of_text|>", " ")),
        ("meta-llama/Llama-2-7b-chat-hf", "eos_token", ("[INST] ", " [/INST] </s>", " ")),
    ],
)
def test_chat_models_are_wrapped_by_the_name_of_their_base(base: Path, published, name: str, mode: str, wrapper: Any) -> None:
    """Also where the base stands in another folder on this machine."""
    first, _ = published
    config = json.loads((first / "adapter_config.json").read_text())
    (first / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": name}))
    (first / LLM2VEC).write_text(json.dumps({**SETTINGS, "pooling_mode": mode}))
    assert bw.load(first, base=base, dtype="float32", device="cpu").options.wrapper == Wrapper(*wrapper)


def test_the_instruction_is_never_pooled_and_joined_by_one_blank(published) -> None:
    encoder = bw.load(published[0], dtype="float32", device="cpu")
    one, two = (encoder.encode((instruction, "A cat sits.")) for instruction in ("Find: \n", "Find:"))
    assert (one == two).all()
    (row,) = encoder.tokenize([("Find:", "A cat sits.")])
    assert row.ids == encoder.tokenizer("Find: A cat sits.")["input_ids"]
    assert row.ids[0] == encoder.tokenizer.bos_token_id
    assert not row.pool[0]
    assert not encoder.tokenize(["A cat"])[0].pool[0]


def test_what_does_not_fit_is_refused(base: Path, published, tmp_path: Path) -> None:
    first, _ = published
    deeper = tiny_llama(tmp_path / "deeper", num_hidden_layers=3)
    shallower = tiny_llama(tmp_path / "shallower", num_hidden_layers=1)
    wider = tiny_llama(tmp_path / "wider", hidden_size=64)
    for other in (deeper, shallower, wider):
        with pytest.raises(InputError, match="mntp: the adapter does not fit LlamaModel") as caught:
            bw.load(first, base=other)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"it has no adapter_config.json"):
        bw.load(first, adapter=base)
    config = json.loads((first / "adapter_config.json").read_text())
    (first / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": None}))
    with pytest.raises(InputError, match=r"adapter_config.json: names no base model; give it as base="):
        bw.load(first)
    (first / "adapter_config.json").write_text(json.dumps(config))
    (first / LLM2VEC).write_text(json.dumps({**SETTINGS, "skip_instruction": False}))
    with pytest.raises(InputError, match="skip_instruction is false, but pooling the instruction is not supported"):
        bw.load(first)
    (first / LLM2VEC).write_text(json.dumps({**SETTINGS, "pooling_mode": "latent_attention"}))
    with pytest.raises(InputError, match="pooling: unknown mode 'latent_attention'"):
        bw.load(first)
    for content, said in (("{", "cannot be read as JSON"), ("[1]", "must hold a JSON object")):
        (first / LLM2VEC).write_text(content)
        with pytest.raises(InputError, match=f"{LLM2VEC}: {said}"):
            bw.load(first)
