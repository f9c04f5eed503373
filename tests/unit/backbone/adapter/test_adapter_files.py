"""LoRA+: what is trained whole beside the factors, the published counts, and the adapter as
files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig

import bothways as bw
from bothways.backbone.adapter import lora, merging
from bothways.backbone.adapter.adapter_files import PUBLISHED_WHOLE, WHOLE, save_adapter
from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.backbone.loading.sources import load_pretrained
from bothways.errors import InputError
from tiny import SENTENCES, tiny_llama

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
LORA = {"r": 8, "alpha": 16.0, "dropout": 0.0, "targets": ATTENTION}
PLUS = LoraConfig(**LORA, train_whole=("embed", "norm"))


def llama_2_7b(vocabulary: int) -> torch.nn.Module:
    return lora.meta_model(
        LlamaConfig(
            hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=vocabulary
        )
    )


def test_published_counts_on_llama_2_7b() -> None:
    """arXiv 2309.12307: 8,388,608 factors, 131,076,096 in embeddings (of 32,001 rows: LongLoRA adds
    a padding token), 266,240 in norms.
    """
    model = llama_2_7b(32_001)
    assert lora.trainable_counts(model, LoraConfig(**LORA)).trainable == 8_388_608
    assert lora.trainable_counts(model, PLUS).trainable == 8_388_608 + 131_076_096 + 266_240
    # the prediction equals what is attached
    lora.attach(model, PLUS)
    trained = {name: each.numel() for name, each in model.named_parameters() if each.requires_grad}
    by_kind = {kind: sum(n for name, n in trained.items() if kind in name) for kind in (".lora_", "embed", "norm")}
    assert by_kind == {".lora_": 8_388_608, "embed": 131_076_096, "norm": 266_240}
    assert sum(by_kind.values()) == sum(trained.values()) == lora.trainable_counts(model).trainable
    # without the padding token
    assert lora.trainable_counts(llama_2_7b(32_000), PLUS).trainable == 8_388_608 + 131_072_000 + 266_240


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_llama(tmp_path / "base", tie_word_embeddings=True)


def trained(base: Path, config: LoraConfig = PLUS, dtype: str = "float32") -> Any:
    """A decoder with an adapter whose every trained number was moved."""
    loaded = load_pretrained(base, dtype=dtype, device="cpu", head=True)
    lora.attach(loaded.model, config)
    generator = torch.Generator().manual_seed(1)
    for parameter in loaded.model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return loaded


def states(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(20)[None]).last_hidden_state[0]


def test_whole_parameters_are_float32_over_frozen_bfloat16(base: Path) -> None:
    model = trained(base, dtype="bfloat16").model
    kinds = {name: each.dtype for name, each in model.named_parameters()}
    assert kinds["embed_tokens.weight"] == kinds["norm.weight"] == torch.float32
    assert kinds["layers.0.input_layernorm.weight"] == torch.float32
    assert kinds["layers.0.mlp.up_proj.weight"] == torch.bfloat16


def test_a_part_that_names_nothing_is_refused(base: Path) -> None:
    model = load_pretrained(base, dtype="float32").model
    with pytest.raises(InputError, match=r"adapter\.train_whole: no parameter's name contains 'wte'; there are .*embed_tokens"):
        lora.attach(model, LoraConfig(train_whole=("wte",)))


def test_merged_equals_unmerged_on_states_and_on_logits_of_a_tied_head(base: Path) -> None:
    loaded = trained(base)
    assert loaded.head.tied
    loaded.head.tie(loaded.model)
    before = states(loaded.model)
    logits = loaded.head(before)
    assert lora.merge_adapter(loaded.model, verify=lambda: states(loaded.model)) < 1e-5
    after = states(loaded.model)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loaded.head(after), logits, atol=1e-4, rtol=1e-4)
    # by hand, in float64: the head is the trained embeddings
    torch.testing.assert_close(
        logits.double(), before.double() @ loaded.model.embed_tokens.weight.double().T, atol=1e-5, rtol=1e-5
    )


def test_saved_and_merged_again_equals_merged(base: Path, tmp_path: Path) -> None:
    loaded = trained(base)
    save_adapter(loaded.model, PLUS, tmp_path / "adapter", base=str(base))
    lora.merge_adapter(loaded.model)
    other = load_pretrained(base, dtype="float32").model
    merging.merge_saved(other, tmp_path / "adapter")
    for (name, one), (_, two) in zip(loaded.model.named_parameters(), other.named_parameters()):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-6, msg=name)
    texts = list(SENTENCES)
    encoder = bw.convert(base, adapter=tmp_path / "adapter", dtype="float32", device="cpu")
    assert encoder.provenance["base_adapter"] == str(tmp_path / "adapter")
    assert np.abs(encoder.encode(texts) - bw.convert(base, dtype="float32", device="cpu").encode(texts)).max() > 1e-2


def test_peft_loads_the_factors_over_the_causal_model(base: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    config = LoraConfig(**LORA)
    loaded = trained(base, config)
    save_adapter(loaded.model, config, tmp_path / "adapter", base=str(base))
    assert not (tmp_path / "adapter" / WHOLE).exists()
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(tmp_path / "adapter")).eval()
    with torch.no_grad():
        logits = theirs(input_ids=torch.arange(20)[None]).logits[0]
        torch.testing.assert_close(loaded.head(states(loaded.model)), logits, atol=1e-5, rtol=1e-5)


def test_the_published_file_of_whole_parameters_is_read(base: Path, tmp_path: Path) -> None:
    loaded = trained(base)
    folder = tmp_path / "adapter"
    save_adapter(loaded.model, PLUS, folder, base=str(base))
    whole = load_file(folder / WHOLE)
    assert "model.embed_tokens.weight" in whole
    torch.save(whole, folder / PUBLISHED_WHOLE)
    (folder / WHOLE).unlink()
    other = load_pretrained(base, dtype="float32").model
    merging.merge_saved(other, folder)
    assert torch.equal(other.norm.weight, loaded.model.norm.weight)
    # published models have a row more than their base, for the padding token that LongLoRA adds
    grown = torch.cat([whole["model.embed_tokens.weight"], torch.full((1, 32), 3.0)])
    torch.save({**whole, "model.embed_tokens.weight": grown}, folder / PUBLISHED_WHOLE)
    other = load_pretrained(base, dtype="float32").model
    merging.merge_saved(other, folder)
    assert torch.equal(other.embed_tokens.weight, grown) and other.config.vocab_size == len(grown) == 385
    whole["model.embed_tokens.weight"] = torch.zeros(7, 32)
    torch.save(whole, folder / PUBLISHED_WHOLE)
    with pytest.raises(
        InputError, match=r"model\.embed_tokens\.weight of shape \(7, 32\) does not fit LlamaModel \(\(384, 32\)\)"
    ):
        merging.merge_saved(load_pretrained(base, dtype="float32").model, folder)


def test_a_head_beside_the_factors_is_left_out_and_said(base: Path, tmp_path: Path, caplog) -> None:
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model

    torch.manual_seed(0)
    config = PeftConfig(
        r=4, target_modules=["q_proj"], modules_to_save=["lm_head"], task_type="CAUSAL_LM", init_lora_weights=False
    )
    theirs = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).eval()
    theirs.save_pretrained(str(tmp_path / "adapter"))
    other = load_pretrained(base, dtype="float32").model
    with caplog.at_level("INFO", logger="bothways"):
        merging.merge_saved(other, tmp_path / "adapter")
    assert "left out its 1 tensors outside the decoder (a language-model head" in caplog.text
    with torch.no_grad():
        expected = theirs(input_ids=torch.arange(20)[None], output_hidden_states=True).hidden_states[-1][0]
        torch.testing.assert_close(states(other), expected, atol=1e-5, rtol=1e-5)


def test_a_published_adapter_comes_from_the_hub_with_both_its_pickles(base: Path, tmp_path: Path, monkeypatch) -> None:
    """LongLoRA's repositories hold adapter_model.bin and trainable_params.bin; without the second
    the merge would be wrong in silence.
    """
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    loaded = trained(base)
    there, here = tmp_path / "repository", tmp_path / "cache"
    save_adapter(loaded.model, PLUS, there, base=str(base))
    torch.save(load_file(there / WHOLE), there / PUBLISHED_WHOLE)
    torch.save(load_file(there / "adapter_model.safetensors"), there / "adapter_model.bin")
    (there / WHOLE).unlink()
    (there / "adapter_model.safetensors").unlink()
    (there / "pytorch_model.bin").write_bytes(b"thirteen gigabytes")

    def download(name: str, **patterns: Any) -> str:
        assert name == "Yukang/longlora"
        here.mkdir()
        for file in filter_repo_objects([each.name for each in there.iterdir()], **patterns):
            (here / file).write_bytes((there / file).read_bytes())
        return str(here)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    other = load_pretrained(base, dtype="float32").model
    merging.merge_saved(other, "Yukang/longlora")
    assert {file.name for file in here.iterdir()} == {
        "adapter_config.json",
        "adapter_model.bin",
        PUBLISHED_WHOLE,
        "bothways.json",
    }
    lora.merge_adapter(loaded.model)
    for name, tensor in loaded.model.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, atol=1e-6, rtol=1e-6, msg=name)
