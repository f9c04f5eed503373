"""Adapters of a family with experts: they sit on the layers that were named, wherever they are
trained, saved, merged, or checked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModel, Glm4MoeConfig

import bothways as bw
from bothways.backbone.adapter.adapter_files import save_adapter
from bothways.backbone.adapter.exact_targets import exact_targets, fits_by_name, translated_by_peft
from bothways.backbone.adapter.lora import attach, lora_layers, merge_adapter
from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.backbone.adapter.merging import merge_saved
from bothways.backbone.adapter.unmerged import activate, attach_saved
from bothways.encoder.proof.training_checks import adapters
from tiny import TINY, tiny_model

pytestmark = pytest.mark.filterwarnings("ignore")

# A dense first layer, then experts of which one is shared, as in GLM-4.5 and DeepSeek V3.
EXPERTS = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
    "head_dim": 8,
}
ATTENTION = [f"self_attn.{name}_proj" for name in "qkvo"]
NAMES = [
    *(f"layers.0.{name}" for name in [*ATTENTION, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]),
    *(f"layers.1.{name}" for name in ATTENTION),
    *(f"layers.1.mlp.shared_experts.{name}_proj" for name in ("gate", "up", "down")),
]
IDS = torch.arange(12)[None] * 5


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"), Glm4MoeConfig, **{**TINY, **EXPERTS})


def states(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).last_hidden_state
    return found


def trained(base: Path) -> Any:
    """The model with an adapter, as training would leave it."""
    model = AutoModel.from_pretrained(base)
    attach(model, LoraConfig(r=2))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return model.eval()


def test_the_adapter_sits_on_the_named_layers_and_merges_into_them(base: Path) -> None:
    model, plain = trained(base), AutoModel.from_pretrained(base)
    assert {name for name, _ in lora_layers(model)} == set(NAMES)
    assert model.config.model_type == "glm4_moe"
    right = {name: layer.lora_B["default"].weight @ layer.lora_A["default"].weight * 2 for name, layer in lora_layers(model)}
    assert merge_adapter(model, verify=lambda: states(model)) < 1e-5
    for name, value in plain.state_dict().items():
        changed = right.get(name.removesuffix(".weight"), torch.zeros(()))
        torch.testing.assert_close(model.state_dict()[name], value + changed)


def test_a_saved_adapter_is_merged_and_attached_as_it_was_trained(base: Path, tmp_path: Path) -> None:
    model = trained(base)
    right = states(model)
    assert (right - states(AutoModel.from_pretrained(base))).abs().max() > 0.1
    save_adapter(model, LoraConfig(r=2), tmp_path / "adapter", base=str(base))
    merged = AutoModel.from_pretrained(base)
    merge_saved(merged, tmp_path / "adapter")
    torch.testing.assert_close(states(merged), right, atol=1e-5, rtol=1e-5)
    shared = AutoModel.from_pretrained(base)
    (name,) = attach_saved(shared, [tmp_path / "adapter"])
    activate(shared.eval(), name)
    torch.testing.assert_close(states(shared), right, atol=1e-5, rtol=1e-5)
    assert merged.config.model_type == shared.config.model_type == "glm4_moe"


@pytest.mark.parametrize("attention", [False, True])
def test_an_adapter_that_plain_peft_would_misread_is_saved_with_a_warning(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, attention: bool
) -> None:
    config = LoraConfig(r=2, targets="attention" if attention else "all-linear", dropout=0.0)
    model = AutoModel.from_pretrained(base)
    attach(model, config)
    save_adapter(model, config, tmp_path / "adapter", base=str(base))
    assert ("only bothways opens this adapter" in caplog.text) is not attention


@pytest.mark.parametrize(
    ("kind", "targets", "translated"),
    [
        ("glm4_moe", ["layers.0.mlp.up_proj", "layers.0.mlp.gate_proj"], True),
        ("glm4_moe", ["layers.0.mlp.up_proj"], True),  # peft raises, because it lies in one tensor with gate_proj
        ("glm4_moe", ".*up_proj|.*gate_proj", True),
        ("glm4_moe", ["q_proj"], False),
        ("glm4_moe", None, False),
        ("llama", ["layers.0.mlp.up_proj"], False),
        ("mamba", ["out_proj"], False),  # peft refuses it, by the family that it knows
    ],
)
def test_peft_knows_every_family_that_it_translates_no_name_of(base: Path, kind: str, targets: Any, translated: bool) -> None:
    model = AutoModel.from_pretrained(base)
    model.config.model_type = kind
    config = peft.LoraConfig(r=2, target_modules=targets)
    with exact_targets(model, config):
        assert model.config.model_type == ("unknown" if translated else kind)
    assert model.config.model_type == kind and config.target_modules == (set(targets) if isinstance(targets, list) else targets)
    assert not translated_by_peft(model, peft.IA3Config(target_modules=["up_proj"], feedforward_modules=["up_proj"]))


def test_the_doctor_checks_an_adapter_of_such_a_family(base: Path) -> None:
    encoder = bw.convert(base, dtype="float32", device="cpu")
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    assert adapters(encoder, "adapters", False).passed
    assert {name: torch.equal(value, before[name]) for name, value in encoder.state_dict().items()} == dict.fromkeys(
        before, True
    )


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("layers.1.mlp.shared_experts.up_proj.lora_A.weight", True),
        ("embed_tokens.lora_embedding_A", True),
        ("norm.weight", True),  # not a factor
        ("layers.1.mlp.experts.3.up_proj.lora_A.weight", False),
        ("layers.1.mlp.gate.lora_A.weight", False),  # the router was a linear layer in transformers 4
    ],
)
def test_factors_of_single_experts_fit_no_layer(base: Path, name: str, fits: bool) -> None:
    assert fits_by_name(AutoModel.from_pretrained(base), [name]) is fits
