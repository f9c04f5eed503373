"""Every kind of source gives the same bare decoder, and every kind of mistake gives one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, LlamaConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from bothways.backbone.hardware import auto_dtype
from bothways.backbone.loading import checkpoint_loading, embedded, sources
from bothways.backbone.loading.sources import Source, load_pretrained, resolve
from bothways.errors import InputError, SourceError, UnsupportedFamily
from tiny import TINY, tiny_llama, tiny_model

IDS = torch.tensor([[5, 17, 250, 99, 3, 42, 7]])


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("sources") / "llama", tie_word_embeddings=False)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))


def states(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).last_hidden_state


def refuse(kind: type[Exception], name: Any, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        load_pretrained(name, **{"dtype": "float32", **options})
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    return message


# ---- resolve


def test_kinds_are_told_apart(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOTHWAYS_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF")
    assert resolve(llama) == Source(str(llama), "folder", str(llama))
    assert resolve(str(file)) == Source(str(file), "gguf", str(file))
    assert resolve("meta-llama/Llama-3.2-1B") == Source("meta-llama/Llama-3.2-1B", "hub", "meta-llama/Llama-3.2-1B")
    assert resolve("gpt2").kind == "hub"
    folder = str(tmp_path / "cache" / "embedded" / "smollm2-135m")
    assert resolve("SmolLM2-135M") == Source("SmolLM2-135M", "embedded", folder)
    assert not (tmp_path / "cache").exists()


def test_folder_named_like_an_embedded_model_is_reached_with_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_llama(tmp_path / "smollm2-135m")
    monkeypatch.chdir(tmp_path)
    assert resolve("smollm2-135m").kind == "embedded"
    assert resolve("./smollm2-135m").kind == "folder"


def test_every_embedded_name_is_offered() -> None:
    assert all(name in checkpoint_loading.ACCEPTED for name in embedded.names())


def test_misspelt_embedded_name_is_suggested() -> None:
    message = refuse(SourceError, "smollm2-135")
    assert "did you mean 'smollm2-135m'?" in message and "hub id" in message and ".gguf" in message


@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing", "a/b/c", "has space", "", Path("plain")])
def test_unknown_name_says_what_is_accepted(name: Any) -> None:
    message = refuse(SourceError, name)
    assert all(form in message for form in ("hub id", "folder", ".gguf", "smollm2-135m"))


def test_files_that_are_no_model(tmp_path: Path) -> None:
    assert "no such file" in refuse(SourceError, tmp_path / "missing.gguf")
    (tmp_path / "weights.safetensors").write_bytes(b"0")
    assert "unknown kind" in refuse(SourceError, tmp_path / "weights.safetensors")


def test_folders_that_are_no_model(llama: Path, tmp_path: Path) -> None:
    assert "no config.json" in refuse(SourceError, tmp_path)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert str(tmp_path / "model.gguf") in refuse(SourceError, tmp_path)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    assert "bothways.load" in refuse(SourceError, adapter)
    bare = shutil.copytree(llama, tmp_path / "bare")
    for file in bare.glob("tokenizer*"):
        file.unlink()
    assert "no tokenizer" in refuse(SourceError, bare)


# ---- the decoder


def test_bare_decoder_from_a_causal_lm_checkpoint(llama: Path) -> None:
    whole = AutoModelForCausalLM.from_pretrained(str(llama))
    for head in (False, True):
        loaded = load_pretrained(llama, dtype="float32", head=head)
        assert type(loaded.model) is type(whole.model)
        assert (loaded.head is not None) is head
        assert not loaded.model.training
        assert torch.equal(states(loaded.model), states(whole.model))


def test_saved_decoder_has_bare_names_and_loads_everywhere(llama: Path, tmp_path: Path) -> None:
    for head in (False, True):
        loaded = load_pretrained(llama, dtype="float32", head=head)
        folder = tmp_path / str(head)
        loaded.model.save_pretrained(str(folder))
        loaded.tokenizer.save_pretrained(str(folder))
        assert set(load_file(folder / "model.safetensors")) == set(loaded.model.state_dict())
        assert json.loads((folder / "config.json").read_text())["architectures"] == ["LlamaModel"]
        assert torch.equal(states(load_pretrained(folder, dtype="float32").model), states(loaded.model))
        assert torch.equal(states(AutoModel.from_pretrained(str(folder))), states(loaded.model))


def test_sharded_checkpoint(llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(llama, tmp_path / "sharded")
    (folder / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(str(llama)).save_pretrained(str(folder), max_shard_size="60KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    loaded = load_pretrained(folder, dtype="float32", head=True)
    assert torch.equal(states(loaded.model), states(AutoModel.from_pretrained(str(llama))))
    next(iter(sorted(folder.glob("*.safetensors")))).unlink()
    assert str(folder) in refuse(SourceError, folder)


@pytest.mark.parametrize("saved", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("wanted", ["float32", "bfloat16", "float16", "auto"])
def test_dtype_is_the_wanted_one_whatever_was_saved(saved: torch.dtype, wanted: str, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "m", LlamaConfig, dtype=saved, **TINY)
    loaded = load_pretrained(folder, dtype=wanted, head=True)
    expected = auto_dtype("cpu") if wanted == "auto" else getattr(torch, wanted)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {expected}
    stored = load_file(folder / "model.safetensors")["model.norm.weight"]
    assert stored.dtype is saved and torch.equal(loaded.model.norm.weight, stored.to(expected))


@pytest.mark.parametrize("tied", [True, False])
def test_checkpoint_saved_as_a_bare_decoder(tied: bool, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "m", LlamaConfig, auto=AutoModel, **{**TINY, "tie_word_embeddings": tied})
    loaded = load_pretrained(folder, dtype="float32")
    assert torch.equal(states(loaded.model), states(AutoModel.from_pretrained(str(folder))))
    if tied:
        with_head = load_pretrained(folder, dtype="float32", head=True)
        assert with_head.head is not None and torch.equal(states(with_head.model), states(loaded.model))
    else:
        # a random head would be trained on without a word
        assert "lm_head.weight" in refuse(SourceError, folder, head=True)


def test_code_in_the_folder_is_not_run(llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(llama, tmp_path / "code")
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    config = json.loads((folder / "config.json").read_text())
    custom = {**config, "model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(custom))
    assert "never run" in refuse(SourceError, folder)


def test_tokenizer_comes_prepared(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "m", tokenizer={"pad": None, "chat_template": True})
    tokenizer = load_pretrained(folder, dtype="float32").tokenizer
    assert tokenizer.pad_token == "</s>" and tokenizer.is_fast and tokenizer.chat_template


# ---- other families


@pytest.mark.parametrize("kind", ["BertConfig", "RobertaConfig"])
@pytest.mark.parametrize("auto", [transformers.AutoModel, transformers.AutoModelForMaskedLM])
def test_encoder_only_families_load_without_head(kind: str, auto: Any, tmp_path: Path) -> None:
    fields = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    folder = tiny_model(tmp_path / "m", getattr(transformers, kind), auto=auto, **fields, max_position_embeddings=512)
    loaded = load_pretrained(folder, dtype="float32", head=True)
    whole = auto.from_pretrained(str(folder))
    assert loaded.head is None
    assert torch.equal(states(loaded.model), states(whole.base_model))
    # a pooler that the checkpoint lacks must not be saved as random numbers
    assert (loaded.model.pooler is None) is (auto is transformers.AutoModelForMaskedLM)


def test_encoder_decoder_and_vision_models_are_refused(tmp_path: Path) -> None:
    t5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4}
    folder = tiny_model(tmp_path / "t5", transformers.T5Config, auto=AutoModel, **t5)
    assert "encoder-decoder" in refuse(UnsupportedFamily, folder)
    vit = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "image_size": 32}
    folder = tiny_model(tmp_path / "vit", transformers.ViTConfig, auto=AutoModel, **vit)
    assert "neither a decoder-only nor an encoder-only" in refuse(UnsupportedFamily, folder)


def gemma3(folder: Path) -> Path:
    text = {**TINY, "head_dim": 8, "vocab_size": 384, "sliding_window": 8, "pad_token_id": 2}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    size = {"image_size": 28, "patch_size": 14}
    wrapper = {"text_config": text, "vision_config": {**vision, **size}, "mm_tokens_per_image": 4, "image_token_index": 383}
    return tiny_model(folder, transformers.Gemma3Config, **wrapper)


def test_text_decoder_is_taken_out_of_a_multimodal_wrapper(tmp_path: Path) -> None:
    folder = gemma3(tmp_path / "m")
    whole = AutoModelForCausalLM.from_pretrained(str(folder)).eval()
    loaded = load_pretrained(folder, dtype="float32", head=True, config_overrides={"attention_dropout": 0.2})
    assert type(loaded.model).__name__ == "Gemma3TextModel"
    assert loaded.model.config.attention_dropout == 0.2
    assert loaded.head is not None
    with torch.no_grad():
        torch.testing.assert_close(loaded.head(states(loaded.model)[0]), whole(input_ids=IDS).logits[0], atol=1e-5, rtol=1e-5)
    loaded.model.save_pretrained(str(tmp_path / "text"))
    loaded.tokenizer.save_pretrained(str(tmp_path / "text"))
    assert AutoConfig.from_pretrained(str(tmp_path / "text")).model_type == "gemma3_text"
    assert torch.equal(states(load_pretrained(tmp_path / "text", dtype="float32").model), states(loaded.model))


# ---- options


def test_attention_is_chosen(llama: Path) -> None:
    assert load_pretrained(llama, dtype="float32", attn_implementation="eager").model.config._attn_implementation == "eager"
    message = refuse(InputError, llama, attn_implementation="never_heard_of")
    assert "never_heard_of" in message


def test_registered_attention_is_set_after_the_head_was_checked(llama: Path) -> None:
    def needs_a_plan(*_: Any, **__: Any) -> Any:
        raise RuntimeError("called without a plan")

    ALL_ATTENTION_FUNCTIONS.register("needs_a_plan", needs_a_plan)
    try:
        loaded = load_pretrained(llama, dtype="float32", head=True, attn_implementation="needs_a_plan")
        assert loaded.head is not None
        with pytest.raises(RuntimeError, match="without a plan"):
            states(loaded.model)
    finally:
        ALL_ATTENTION_FUNCTIONS._global_mapping.pop("needs_a_plan")


# ---- the hub


@pytest.mark.usefixtures("offline")
def test_unreachable_hub_is_one_line() -> None:
    message = refuse(SourceError, "some-org/some-model")
    assert "some-org/some-model" in message and "cannot be reached" in message and "smollm2-135m" in message


def test_embedded_name_loads_the_cached_folder(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "ensure", lambda name: llama)
    loaded = sources.load_pretrained("SmolLM2-135M", dtype="float32")
    assert loaded.source.kind == "embedded" and torch.equal(states(loaded.model), states(AutoModel.from_pretrained(str(llama))))
