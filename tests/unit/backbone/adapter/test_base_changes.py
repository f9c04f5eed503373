"""Initializations that change the base: the states of the trained model, or a refusal by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config

import bothways as bw
from bothways.backbone.adapter import base_changes
from bothways.errors import InputError
from tiny import tiny_llama, tiny_model

pytestmark = pytest.mark.filterwarnings("ignore")
IDS = torch.arange(5, 25)[None]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return steep(tiny_llama(tmp_path_factory.mktemp("models") / "base"))


def steep(folder: Path) -> Path:
    """Give the weights singular values that fall as those of trained weights do."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    for name, weight in model.named_parameters():
        if weight.ndim == 2 and ("_proj" in name or "c_attn" in name):
            left, values, right = torch.linalg.svd(weight.detach(), full_matrices=False)
            weight.data = left @ torch.diag(0.5 ** torch.arange(len(values)) * 4) @ right
    model.save_pretrained(folder)
    return folder


def trained(base: Path, place: Path, **options: Any) -> torch.Tensor:
    torch.manual_seed(1)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], **options}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**settings)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(place)
        return model(input_ids=IDS, output_hidden_states=True).hidden_states[-1]


def merged(base: Path, place: Path) -> torch.Tensor:
    encoder = bw.convert(base, adapter=place, dtype="float32", device="cpu", direction="causal")
    with torch.no_grad():
        return encoder.backbone(input_ids=IDS).last_hidden_state  # type: ignore[no-any-return, operator]


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_16", "olora"])
def test_the_base_is_changed_as_in_training(base: Path, tmp_path: Path, init: str) -> None:
    right = trained(base, tmp_path / "adapter", init_lora_weights=init)
    assert (merged(base, tmp_path / "adapter") - right).abs().max() < 1e-4
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({**config, "init_lora_weights": True}))
    assert (merged(base, tmp_path / "adapter") - right).abs().max() > 1e-3, "the base was not changed, so this shows nothing"


def test_weights_that_lie_on_their_side(tmp_path: Path) -> None:
    """GPT-2 keeps its weights transposed."""
    base = steep(tiny_model(tmp_path / "base", GPT2Config, n_embd=32, n_layer=2, n_head=4, n_positions=64))
    right = trained(
        base, tmp_path / "adapter", target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights="pissa_niter_16"
    )
    assert (merged(base, tmp_path / "adapter") - right).abs().max() < 1e-4


def test_a_random_part_that_is_not_known_is_refused(tmp_path: Path) -> None:
    """Random weights have no principal part, so a few iterations do not find it."""
    base = tiny_llama(tmp_path / "flat")
    trained(base, tmp_path / "adapter", init_lora_weights="pissa_niter_2")
    with pytest.raises(InputError, match="'pissa_niter_2' took a random part out of the base"):
        merged(base, tmp_path / "adapter")


@pytest.mark.parametrize("init", ["lora_ga", "corda"])
def test_a_base_that_cannot_be_computed_again_is_refused(base: Path, tmp_path: Path, init: str) -> None:
    trained(base, tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "init_lora_weights": init}))
    with pytest.raises(InputError, match=f"adapter_config.json: init_lora_weights '{init}' changed the base"):
        merged(base, tmp_path / "adapter")


def test_loftq_is_refused_if_its_rounding_cannot_be_repeated(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(base, tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    values = {"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4, "loftq_iter": 1}}
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
    for gpu in (False, True):  # without bitsandbytes
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        monkeypatch.setattr(base_changes, "find_spec", lambda name: None)
        with pytest.raises(
            InputError, match=r"'loftq' rounded the base .* merge the adapter there with peft's merge_and_unload"
        ):
            base_changes.refuse_lost_base(LoraConfig(**values), file)
    monkeypatch.setattr(base_changes, "find_spec", lambda name: name)
    base_changes.refuse_lost_base(LoraConfig(**values), file)
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"adapter_config\.json: init_lora_weights 'loftq'"):
        merged(base, tmp_path / "adapter")


@pytest.mark.parametrize("init", ["pissa_niter_", "pissa_niter_many"])
def test_a_decomposition_without_its_number_is_named(base: Path, tmp_path: Path, init: str) -> None:
    trained(base, tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "init_lora_weights": init}))
    with pytest.raises(InputError, match=f"init_lora_weights '{init}' must end in a number"):
        merged(base, tmp_path / "adapter")
