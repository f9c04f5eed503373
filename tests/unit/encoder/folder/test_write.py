"""Saving: whole or not at all, bit by bit, and refused where it would lie. Other loaders are in
tests/parity.
"""

from __future__ import annotations

import json
import os
import resource
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM, FalconConfig, Gemma2Config, MistralConfig

import bothways as bw
from bothways.encoder.encoder import Encoder
from bothways.encoder.folder import write as storage
from bothways.errors import InputError, OutputError
from tiny import SENTENCES, TINY, tiny_llama, tiny_model

TEXTS = list(SENTENCES)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True})


@pytest.fixture
def encoder(base: Path) -> Encoder:
    return bw.convert(base, dtype="float32", device="cpu", pooling="last", prompts={"query": "Suche – 検索: "}, normalize=True)


def load(folder: Path, dtype: str = "float32") -> Encoder:
    return bw.load(folder, dtype=dtype, device="cpu")


def test_a_call_of_the_tokenizer_leaves_nothing_in_the_folder(encoder: Encoder, tmp_path: Path) -> None:
    """transformers keeps the settings of the last call in the tokenizer, and would save them."""
    encoder.tokenizer(TEXTS[0], truncation=True, max_length=3, padding="max_length")
    encoder.save(tmp_path / "one")
    written = json.loads((tmp_path / "one" / "tokenizer.json").read_text(encoding="utf-8"))
    assert written["truncation"] is None and written["padding"] is None


def test_reload_is_bit_equal_again_and_again(encoder: Encoder, tmp_path: Path) -> None:
    encoder.provenance["stages"] = [{"name": "mntp", "steps": 3}]
    before = encoder.encode_query(TEXTS)
    encoder.save(tmp_path / "one")
    one = load(tmp_path / "one")
    one.save(tmp_path / "two")
    two = load(tmp_path / "two")
    for again in (one, two):
        assert (again.encode_query(TEXTS) == before).all()
        assert all(
            torch.equal(a, b) for a, b in zip(again.backbone.state_dict().values(), encoder.backbone.state_dict().values())
        )
        assert again.options == encoder.options
        assert again.provenance["stages"] == [{"name": "mntp", "steps": 3}]
        assert again.provenance["base"] == encoder.provenance["base"]
    files: dict[str, dict[str, Any]] = {"one": {}, "two": {}}
    for name, found in files.items():
        for file in sorted((tmp_path / name).rglob("*")):
            if file.is_file():
                found[str(file.relative_to(tmp_path / name))] = file.read_bytes()
        found["bothways.json"] = json.loads(found["bothways.json"])
    assert files["one"] == files["two"]
    assert one.direction == "bidirectional"


def test_layout_is_what_every_loader_reads(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "out")

    def read(name: str) -> Any:
        return json.loads((tmp_path / "out" / name).read_text())

    config = read("config.json")
    assert (config["is_causal"], config["use_bidirectional_attention"], config["pooling"]) == (False, True, "last")
    assert (config["architectures"], config["model_type"], config["dtype"]) == (["LlamaModel"], "llama", "float32")
    assert "auto_map" not in config
    assert "attn_implementation" not in config
    kinds = [f"sentence_transformers.models.{kind}" for kind in ("Transformer", "Pooling", "Normalize")]
    assert [module["type"] for module in read("modules.json")] == kinds
    pooling = read("1_Pooling/config.json")
    assert (pooling["pooling_mode"], pooling["pooling_mode_lasttoken"], pooling["pooling_mode_mean_tokens"]) == (
        "lasttoken",
        True,
        False,
    )
    assert pooling["include_prompt"] is False
    assert read("sentence_bert_config.json")["max_seq_length"] == 512
    assert read("config_sentence_transformers.json")["prompts"] == {"query": "Suche – 検索: "}
    assert not any(name.startswith("lm_head") for name in load_file(tmp_path / "out" / "model.safetensors"))
    ours = read("bothways.json")
    assert (ours["direction"], ours["pooling"], ours["format"]) == ("bidirectional", "last", 1)
    assert ours["versions"]["torch"] == version("torch")  # a CUDA build adds its local version to torch.__version__ alone
    card = (tmp_path / "out" / "README.md").read_text()
    assert "SentenceTransformer" in card
    assert "Bidirectional attention, last pooling, 32 dimensions, up to\n512 tokens" in card


def test_stored_type_is_the_one_asked_for(encoder: Encoder, tmp_path: Path) -> None:
    from transformers import AutoModel

    encoder.save(tmp_path / "half", dtype="bfloat16")
    assert {value.dtype for value in load_file(tmp_path / "half" / "model.safetensors").values()} == {torch.bfloat16}
    assert AutoModel.from_pretrained(tmp_path / "half").dtype == torch.bfloat16
    assert encoder.dtype == torch.float32
    half, rounded = load(tmp_path / "half", "bfloat16"), load(tmp_path / "half")
    for name, value in encoder.backbone.state_dict().items():
        assert torch.equal(half.backbone.state_dict()[name], value.bfloat16())
        assert torch.equal(rounded.backbone.state_dict()[name], value.bfloat16().float())
    cosines = (half.encode(TEXTS) * encoder.encode(TEXTS)).sum(1)
    assert cosines.min() > 0.999
    with pytest.raises(InputError, match="dtype 'int8' cannot be used"):
        encoder.save(tmp_path / "no", dtype="int8")


def test_sharded_base(base: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(base).save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "sharded" / file).write_bytes((base / file).read_bytes())
    assert len(list((tmp_path / "sharded").glob("model-*.safetensors"))) > 2
    sharded = bw.convert(tmp_path / "sharded", dtype="float32", device="cpu")
    assert (sharded.encode(TEXTS) == bw.convert(base, dtype="float32", device="cpu").encode(TEXTS)).all()
    sharded.save(tmp_path / "out")
    assert (load(tmp_path / "out").encode(TEXTS) == sharded.encode(TEXTS)).all()


def test_windows_stay_lifted_or_kept_and_the_report_says_which(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", MistralConfig, **{**TINY, "sliding_window": 4})
    vectors = {}
    for windows in ("lift", "keep"):
        encoder = bw.convert(base, windows=windows, dtype="float32", device="cpu")
        vectors[windows] = encoder.encode(TEXTS)
        for turn in ("one", "two"):
            encoder.save(tmp_path / windows / turn)
            encoder = load(tmp_path / windows / turn)
            assert (encoder.encode(TEXTS) == vectors[windows]).all()
            report = encoder.provenance["report"]
            sizes = {"0": 4, "1": 4}
            assert (report["lifted_windows"], report["kept_windows"]) == ((sizes, {}) if windows == "lift" else ({}, sizes))
    assert np.abs(vectors["lift"] - vectors["keep"]).max() > 1e-2


def test_attention_is_named_as_it_was_used(tmp_path: Path) -> None:
    """Falcon with alibi computes other states with eager attention than with SDPA, which it chooses
    when it is built.
    """
    base = tiny_model(tmp_path / "base", FalconConfig, **{**TINY, "alibi": True})
    encoder = bw.convert(base, dtype="float32", device="cpu", direction="causal", pooling="last")
    encoder.save(tmp_path / "out")
    model, text = AutoModel.from_pretrained(tmp_path / "out"), SENTENCES[0]
    with torch.no_grad():
        states = model(**encoder.tokenizer(text, return_tensors="pt")).last_hidden_state[0, -1]
    assert np.abs(encoder.encode([text])[0] - states.numpy()).max() < 1e-5


def test_an_existing_folder_is_not_overwritten_unasked(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    encoder.save(tmp_path / "out")  # an empty one may be filled
    before = (tmp_path / "out" / "bothways.json").read_bytes()
    with pytest.raises(InputError, match="out: already exists and is not empty; choose another folder or remove it"):
        encoder.save(tmp_path / "out")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file: already exists"):
        encoder.save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "out" / "bothways.json").read_bytes() == before
    (tmp_path / "out" / "stale.txt").write_text("from another encoder")
    encoder.options.max_length = 77
    encoder.save(tmp_path / "out", replace=True)
    assert load(tmp_path / "out").max_length == 77
    assert not (tmp_path / "out" / "stale.txt").exists()
    assert sorted(os.listdir(tmp_path)) == ["file", "out"]


@pytest.mark.parametrize("step", ["_save_backbone", "_save_tokenizer", "_save_modules", "model_card"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("broken"), OSError(28, "No space left on device")])
def test_a_save_that_fails_leaves_what_was_there(encoder: Encoder, tmp_path: Path, monkeypatch, step: str, error: Any) -> None:
    encoder.save(tmp_path / "out")
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir() if file.is_file()}
    encoder.options.max_length = 7
    kept = getattr(storage, step)

    def fail(*args: Any) -> None:
        kept(*args)
        raise error

    monkeypatch.setattr(storage, step, fail)
    for replace, target in ((True, "out"), (False, "new")):
        with pytest.raises((KeyboardInterrupt, RuntimeError, OutputError)) as caught:
            encoder.save(tmp_path / target, replace=replace)
        if isinstance(error, OSError):
            message = f"{tmp_path / target}: cannot be written (No space left on device); make room or choose another place"
            assert str(caught.value) == message
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir() if file.is_file()} == before
    assert os.listdir(tmp_path) == ["out"]


def test_a_disk_that_is_really_full(encoder: Encoder, tmp_path: Path) -> None:
    """The limit on file sizes stands for the disk: safetensors' writer reports it in Rust's words,
    not as an OSError.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OutputError, match=r"out: cannot be written \(.*File too large.*\); make room"):
            encoder.save(tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_saved_truthfully_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    from bothways.backbone.adapter.lora import attach
    from bothways.backbone.adapter.lora_config import LoraConfig

    attach(encoder.backbone, LoraConfig(r=2), seed=0)
    with pytest.raises(InputError, match="has unmerged adapters; merge them first"):
        encoder.save(tmp_path / "out")
    other = bw.convert(encoder.provenance["base"], dtype="float32", device="cpu")
    other.pooling = torch.nn.Identity()
    with pytest.raises(InputError, match="pooling Identity cannot be written in the sentence-transformers layout"):
        other.save(tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_a_prompt_as_long_as_the_length_does_not_stop_a_save(encoder: Encoder, tmp_path: Path) -> None:
    encoder.options.max_length = 3
    encoder.save(tmp_path / "out")
    assert load(tmp_path / "out").encode(TEXTS, prompt="").shape == (8, 32)
    with pytest.raises(InputError, match="leaves no token for the text"):
        load(tmp_path / "out").encode_query(TEXTS)


def test_the_encoder_in_memory_is_left_as_it_was(encoder: Encoder, tmp_path: Path) -> None:
    encoder.tokenizer.chat_template = "{{ messages }}"
    encoder.tokenizer.padding_side = "left"
    config, vectors = encoder.backbone.config.to_dict(), encoder.encode(TEXTS)
    encoder.save(tmp_path / "out", dtype="bfloat16")
    assert encoder.backbone.config.to_dict() == config
    assert (encoder.tokenizer.chat_template, encoder.tokenizer.padding_side) == ("{{ messages }}", "left")
    assert (encoder.encode(TEXTS) == vectors).all()


def test_capped_scores_are_capped_in_a_plain_loader(tmp_path: Path) -> None:
    """With SDPA, which older transformers take if nothing else is said, the cap would be left out."""
    shape = {
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 64,
        "attn_logit_softcapping": 0.05,
        "initializer_range": 0.5,
    }
    base = tiny_model(tmp_path / "base", Gemma2Config, **{**TINY, **shape})
    encoder = bw.convert(base, dtype="float32", device="cpu")
    encoder.save(tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    settings = json.loads((tmp_path / "saved" / "sentence_bert_config.json").read_text())
    assert config["attn_implementation"] == settings["model_args"]["attn_implementation"] == "eager"
    plain = AutoModel.from_pretrained(tmp_path / "saved", dtype=torch.float32).eval()
    ids = encoder.tokenizer(TEXTS[0], add_special_tokens=False, return_tensors="pt").input_ids
    with torch.no_grad():
        states = plain(input_ids=ids).last_hidden_state[0]
    # the cap matters here
    assert np.abs(states.mean(0).numpy() - encoder.encode(TEXTS[0])).max() < 1e-5
    plain.config.attn_logit_softcapping = None
    for layer in plain.layers:
        layer.self_attn.attn_logit_softcapping = None
    with torch.no_grad():
        uncapped = plain(input_ids=ids).last_hidden_state[0].mean(0).numpy()
    assert np.abs(uncapped - encoder.encode(TEXTS[0])).max() > 0.01
