"""Adapters of wrappers other than the causal LM, and configurations with other names than the
tensors, give the states of the model that was trained.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, BertConfig, Gemma3Config

import bothways as bw
from bothways.errors import InputError
from tiny import TINY, tiny_llama, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")
FILE, CONFIG = "adapter_model.safetensors", "adapter_config.json"
IDS = torch.arange(5, 25)[None]
NAMES = ("q_proj", "down_proj")
FULL = [f"layers.{layer}.{part}" for layer in (1, 2) for part in ("self_attn.q_proj", "mlp.down_proj")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "base", num_hidden_layers=3)


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Gemma 3 that reads images too: its decoder is `model.language_model`."""
    folder = tmp_path_factory.mktemp("models") / "seeing"
    tokenizer = tiny_tokenizer(folder)
    text = {**TINY, "head_dim": 8, "vocab_size": len(tokenizer), "sliding_window": 16, "pad_token_id": tokenizer.pad_token_id}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Gemma3Config(text_config=text, vision_config={**vision, "image_size": 28, "patch_size": 14}, mm_tokens_per_image=4)
    torch.manual_seed(0)
    AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    return folder


def trained(model: Any, place: Path, **options: Any) -> torch.Tensor:
    """Save an adapter whose every factor has moved, and return the states of the adapted model."""
    torch.manual_seed(1)
    adapted = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": list(NAMES), **options})).eval()
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    adapted.save_pretrained(place)
    return states(adapted)


def states(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS, output_hidden_states=True).hidden_states[-1]


def difference(base: Path, place: Path, right: torch.Tensor, direction: Any = "causal") -> float:
    encoder = bw.convert(base, adapter=place, dtype="float32", device="cpu", direction=direction, windows="keep")
    with torch.no_grad():
        return float((encoder.backbone(input_ids=IDS).last_hidden_state - right).abs().max())  # type: ignore[operator]


def change(place: Path, rename: Callable[[str], str] | None = None, **fields: Any) -> None:
    if rename is not None:
        save_file({rename(name): value for name, value in load_file(place / FILE).items()}, place / FILE)
    config = json.loads((place / CONFIG).read_text())
    (place / CONFIG).write_text(json.dumps({**config, **fields}))


def bare(name: str) -> str:
    return name.replace("base_model.model.model.", "base_model.model.")


IMAGES = {
    "endings": list(NAMES),
    "ms-swift": r"^(model.language_model(?=\.).*\.(q_proj|down_proj))$",
    "unsloth": r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?(?:q_proj|down_proj).*?)"
    r"|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)\.(?:(?:q_proj|down_proj)))",
    "full names": ["model.language_model.layers.0.self_attn.q_proj", "model.language_model.layers.1.mlp.down_proj"],
    "with the tower": r".*(vision_tower|language_model).*\.(q_proj|down_proj|fc1)",
}


@pytest.mark.parametrize("name", IMAGES)
def test_adapters_of_models_that_read_images(seeing: Path, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bothways")
    pattern = {r"model\.language_model\.layers\.1\..*": 32}
    model = AutoModelForImageTextToText.from_pretrained(seeing)
    plain = states(model.eval())
    right = trained(model, tmp_path / "adapter", target_modules=IMAGES[name], alpha_pattern=pattern)
    assert (right - plain).abs().max() > 0.01
    assert difference(seeing, tmp_path / "adapter", right) < 1e-4
    assert ("outside the decoder" in caplog.text) == (name in ("with the tower", "endings"))


OTHER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # fields in training (names of the causal LM), and the same as the other wrapper names them
    "targets": ({"target_modules": [f"model.{name}" for name in FULL]}, {"target_modules": FULL}),
    "targets of a pair": (
        {"target_modules": [f"model.{name}" for name in FULL]},
        {"target_modules": [f"lm_q.{x}" for x in FULL]},
    ),
    "expression": ({"target_modules": r"model\.layers\.[12]\..*_proj"}, {"target_modules": r"layers\.[12]\..*_proj"}),
    "alpha": (
        {"alpha_pattern": {"^model.layers.1.self_attn.q_proj": 64}},
        {"alpha_pattern": {"^layers.1.self_attn.q_proj": 64}},
    ),
    "rank": ({"rank_pattern": {r"^model\.layers\.1\..*": 2}}, {"rank_pattern": {r"^layers\.1\..*": 2}}),
    "excluded": (
        {"exclude_modules": ["model.layers.1.self_attn.q_proj"]},
        {"exclude_modules": ["encoder.layers.1.self_attn.q_proj"]},
    ),
    "excluded expression": ({"exclude_modules": r"model\.layers\.1\..*"}, {"exclude_modules": r"layers\.1\..*"}),
    "saved": ({"modules_to_save": ["model.embed_tokens"]}, {"modules_to_save": ["lm_q.embed_tokens"]}),
    "saved norm": ({"modules_to_save": ["model.norm"]}, {"modules_to_save": ["lm_q.norm"]}),
    "parameters": (
        {"target_modules": [], "target_parameters": ["model.layers.1.mlp.up_proj.weight"]},
        {"target_parameters": ["lm_q.layers.1.mlp.up_proj.weight"]},
    ),
    "new tokens": (
        {"trainable_token_indices": {"model.embed_tokens": [3, 7]}},
        {"trainable_token_indices": {"lm_q.embed_tokens": [3, 7]}},
    ),
}


@pytest.mark.parametrize("name", OTHER)
def test_a_configuration_with_other_names_than_the_tensors(base: Path, tmp_path: Path, name: str) -> None:
    in_training, otherwise = OTHER[name]
    place = tmp_path / "adapter"
    right = trained(AutoModelForCausalLM.from_pretrained(base), place, **in_training)
    assert difference(base, place, right) < 1e-4
    change(place, **otherwise)
    assert difference(base, place, right) < 1e-4, "tensors of the causal LM"
    # tensors of the bare decoder beside a configuration of the causal LM
    change(place, bare, **{field: json.loads(json.dumps(in_training[field])) for field in otherwise})
    assert difference(base, place, right) < 1e-4, "tensors of the decoder"


def test_one_side_of_a_pair_of_encoders(base: Path, tmp_path: Path) -> None:
    place = tmp_path / "adapter"
    right = trained(AutoModel.from_pretrained(base), place)  # type: ignore[arg-type]
    change(place, lambda name: name.replace("base_model.model.", "base_model.model.lm_q."))
    assert difference(base, place, right) < 1e-4
    tensors = load_file(place / FILE)
    save_file({**tensors, **{name.replace("lm_q", "lm_p"): value.clone() for name, value in tensors.items()}}, place / FILE)
    with pytest.raises(InputError, match=r"holds tensors for 2 models \('lm_p' and 'lm_q'\)"):
        difference(base, place, right)


@pytest.mark.parametrize("rename", ["quantized base of NeMo", "older peft"])
def test_magnitudes_of_dora(base: Path, tmp_path: Path, rename: str) -> None:
    place = tmp_path / "adapter"
    right = trained(AutoModelForCausalLM.from_pretrained(base), place, use_dora=True)
    if rename == "older peft":
        change(place, lambda name: re.sub("lora_magnitude_vector$", "lora_magnitude_vector.weight", name))
    else:
        change(place, lambda name: name.removeprefix("base_model.model.").replace("lora_magnitude_vector", "lora_magnitude"))
    assert difference(base, place, right) < 1e-4


def test_encoder_only_names(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", BertConfig, **TINY)
    place = tmp_path / "adapter"
    right = trained(AutoModel.from_pretrained(base), place, target_modules=["query", "dense"])
    change(place, target_modules=r"bert\.encoder\..*\.(query|dense)|bert\.pooler\.dense")
    assert difference(base, place, right, "bidirectional") < 1e-4
