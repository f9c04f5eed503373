"""Merged adapters are those of peft's add_weighted_adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from bothways.errors import InputError
from bothways.merging.adapters import write_merged
from tiny import tiny_llama

TARGETS = ["q_proj", "v_proj", "down_proj"]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base") / "llama")


def adapter(base: Path, out: Path, seed: int, **options: Any) -> Path:
    """An adapter of peft with random factors."""
    config = peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": TARGETS, "task_type": "CAUSAL_LM", **options})
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, each in model.named_parameters():
            if "lora_" in name:
                each.copy_(0.1 * torch.randn(each.shape, generator=generator))
    model.save_pretrained(str(out))
    return out


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(3, 40)[None]).logits


def theirs(base: Path, folders: list[Path], weights: list[float], kind: str) -> torch.Tensor:
    model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folders[0]), adapter_name="0")
    for number, folder in enumerate(folders[1:], start=1):
        model.load_adapter(str(folder), adapter_name=str(number))
    model.add_weighted_adapter([str(n) for n in range(len(folders))], weights, "merged", combination_type=kind)
    model.set_adapter("merged")
    return logits(model.eval())


def ours(base: Path, folder: Path) -> torch.Tensor:
    return logits(peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folder)).eval())


CASES: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "cat": ("cat", [{}, {}, {}]),
    "cat, ranks and scales": ("cat", [{}, {"r": 2, "lora_alpha": 16}, {"alpha_pattern": {"v_proj": 2}}]),
    "cat, a rank of its own": ("cat", [{}, {"rank_pattern": {"layers.0.self_attn.q_proj": 6}}]),
    "linear": ("linear", [{}, {}]),
    "linear, scales": ("linear", [{}, {"lora_alpha": 32}]),
}


@pytest.mark.parametrize("case", CASES)
def test_merged_as_peft_does(base: Path, tmp_path: Path, case: str) -> None:
    kind, options = CASES[case]
    folders = [adapter(base, tmp_path / f"a{number}", number, **each) for number, each in enumerate(options)]
    weights = [0.5, 0.3, 0.2][: len(folders)]
    write_merged(folders, weights, tmp_path / "out", kind)  # type: ignore[arg-type]
    expected = theirs(base, folders, weights, kind)
    assert (expected - logits(AutoModelForCausalLM.from_pretrained(base).eval())).abs().max() > 0.01
    torch.testing.assert_close(ours(base, tmp_path / "out"), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"use_rslora": True}])
def test_cat_is_the_sum_of_the_products(base: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """By merged weights in float64: peft 0.21's result is √r times as large with rsLoRA, r being the new rank."""
    folders = [adapter(base, tmp_path / f"a{number}", number, **options) for number in range(2)]
    write_merged(folders, [0.25, 0.75], tmp_path / "out", "cat")
    scale = 8 / (4**0.5 if options else 4)
    states = [load_file(folder / "adapter_model.safetensors") for folder in folders]
    found = load_file(tmp_path / "out" / "adapter_model.safetensors")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (8, 8, False)
    for name in [name for name in found if ".lora_A." in name]:
        other = name.replace(".lora_A.", ".lora_B.")
        expected = sum(
            share * scale * state[other].double() @ state[name].double() for share, state in zip((0.25, 0.75), states)
        )
        torch.testing.assert_close(found[other].double() @ found[name].double(), expected, atol=1e-7, rtol=1e-5)


def test_a_share_of_zero_adds_no_rank_and_the_type_stays(base: Path, tmp_path: Path) -> None:
    folders = [adapter(base, tmp_path / f"a{number}", number) for number in range(2)]
    for folder in folders:
        file = folder / "adapter_model.safetensors"
        save_file({name: value.bfloat16() for name, value in load_file(file).items()}, file, metadata={"format": "pt"})
    rounding = write_merged(folders, [1.0, 0.0], tmp_path / "out", "cat")
    found = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {value.dtype for value in found.values()} == {torch.bfloat16} and rounding == 2**-7
    assert {value.shape[0] for name, value in found.items() if ".lora_A." in name} == {4}


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"r": 2}, "linear", "cat takes adapters of several ranks"),
        ({"target_modules": ["q_proj"]}, "cat", "only one has"),
        ({"use_dora": True}, "cat", "besides LoRA's two factors"),
        ({"init_lora_weights": "olora"}, "cat", "a base that init_lora_weights 'olora' has changed"),
        ({"modules_to_save": ["lm_head"]}, "cat", "besides LoRA's two factors"),
        ({"bias": "lora_only"}, "cat", "differ in bias"),
    ],
)
def test_adapters_that_have_no_merged_adapter(base: Path, tmp_path: Path, options, kind, message: str) -> None:
    folders = [adapter(base, tmp_path / "a", 0), adapter(base, tmp_path / "b", 1, **options)]
    with pytest.raises(InputError, match=message) as error:
        write_merged(folders, [0.5, 0.5], tmp_path / "out", kind)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_a_whole_encoder_is_no_adapter(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no adapter"):
        write_merged([adapter(base, tmp_path / "a", 0), base], [0.5, 0.5], tmp_path / "out", "cat")
