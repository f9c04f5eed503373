"""Adapters of any trainer: each setting is merged as peft merges it over the causal LM, or refused
by name.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

import bothways as bw
from bothways.backbone.adapter.lora import lora_layers
from bothways.errors import InputError
from tiny import tiny_llama

ADAPTER = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
FULL = [f"model.layers.{layer}.self_attn.{name}" for layer in (2, 3) for name in ("q_proj", "v_proj")]
EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SOME = ["q_proj", "v_proj", "down_proj"]

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "base", num_hidden_layers=4)


@pytest.fixture(scope="module")
def biased(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "biased", attention_bias=True, mlp_bias=True)


def trained(base: Path, place: Path, config: Any, auto: Any = AutoModelForCausalLM) -> Path:
    """An adapter whose every trainable parameter has moved, as peft saves it."""
    torch.manual_seed(1)
    model = get_peft_model(auto.from_pretrained(base), config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(place)
    return place


def lora(base: Path, place: Path, **options: Any) -> Path:
    settings = {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", "target_modules": SOME, **options}
    return trained(base, place, LoraConfig(**settings))


def by_peft(base: Path, place: Path, auto: Any = AutoModelForCausalLM) -> dict[str, torch.Tensor]:
    """The decoder's weights after peft's own merge over the model that the adapter was trained
    on.
    """
    merged = PeftModel.from_pretrained(auto.from_pretrained(base), place).merge_and_unload()
    return (merged if auto is AutoModel else merged.model).state_dict()


def by_us(base: Path, place: Path) -> dict[str, torch.Tensor]:
    backbone = bw.convert(base, adapter=place, dtype="float32", device="cpu").backbone
    assert not list(lora_layers(backbone))
    return backbone.state_dict()


def difference(own: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    assert own.keys() == right.keys()
    return max(float((own[name] - value).abs().max()) for name, value in right.items())


def edit(place: Path, **values: Any) -> None:
    file = place / CONFIG
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


FIELDS: dict[str, dict[str, Any]] = {
    "endings": {"target_modules": EVERY},
    "all-linear": {"target_modules": "all-linear"},
    "full names": {"target_modules": FULL},
    "regular expression": {"target_modules": r"model\.layers\.[13]\..*\.(q_proj|up_proj)"},
    "unanchored regular expression": {"target_modules": r".*\.(q_proj|up_proj)"},
    "exclude names": {"target_modules": EVERY, "exclude_modules": ["model.layers.0.self_attn.q_proj", "up_proj"]},
    "exclude regular expression": {"target_modules": EVERY, "exclude_modules": r"model\.layers\.[01]\..*"},
    "alpha full name": {"alpha_pattern": {"model.layers.0.self_attn.q_proj": 64}},
    "alpha anchored": {"alpha_pattern": {"^model.layers.0.self_attn.q_proj": 64}},
    "alpha ending": {"alpha_pattern": {"q_proj": 64}},
    "alpha regular expression": {"alpha_pattern": {r"model\.layers\.[01]\..*": 64}},
    "rank full name": {"rank_pattern": {"model.layers.0.self_attn.q_proj": 2, "down_proj": 8}},
    "rank anchored": {"rank_pattern": {r"^model\.layers\.1\.mlp\.down_proj": 2}},
    "layers": {"layers_to_transform": [2, 3]},
    "one layer": {"layers_to_transform": 1, "layers_pattern": "layers"},
    "layers pattern list": {"layers_to_transform": [0, 2], "layers_pattern": ["layers"]},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "dora by rank": {"use_dora": True, "rank_pattern": {"q_proj": 2}},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "head": {"target_modules": ["lm_head", "q_proj"]},
    "head saved": {"modules_to_save": ["lm_head"]},
    "embedding and head saved": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "norm saved": {"modules_to_save": ["norm"]},
    "norm saved by full name": {"modules_to_save": ["model.norm"]},
    "new tokens": {"trainable_token_indices": [3, 7]},
    "new tokens by layer": {"trainable_token_indices": {"embed_tokens": [3, 7]}},
    "parameters": {"target_modules": [], "target_parameters": ["q_proj.weight", "model.layers.1.mlp.up_proj.weight"]},
    "gaussian": {"init_lora_weights": "gaussian"},
    "no init": {"init_lora_weights": False},
    "pissa": {"init_lora_weights": "pissa"},
    "olora": {"init_lora_weights": "olora"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "eva": {"init_lora_weights": "eva"},
    "dropout": {"lora_dropout": 0.1},
    "weight tying": {"ensure_weight_tying": True},
    "qalora": {"use_qalora": False, "qalora_group_size": 32},
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_setting_is_merged_as_peft_merges_it(base: Path, tmp_path: Path, name: str) -> None:
    place = lora(base, tmp_path / "adapter", **FIELDS[name])
    plain = AutoModel.from_pretrained(base).state_dict()
    right = by_peft(base, place)
    if name not in ("head saved",):
        assert difference(plain, right) > 1e-3, "the adapter changes nothing, so that the test would be empty"
    assert difference(by_us(base, place), right) < 1e-5


BIASED: dict[str, dict[str, Any]] = {
    "bias all": {"bias": "all"},
    "bias lora_only": {"bias": "lora_only"},
    "lora_bias": {"lora_bias": True},
}


@pytest.mark.parametrize("name", BIASED)
def test_biases(biased: Path, tmp_path: Path, name: str) -> None:
    place = lora(biased, tmp_path / "adapter", **BIASED[name])
    assert difference(by_us(biased, place), by_peft(biased, place)) < 1e-5


def test_lora_bias_over_layers_without_bias_is_refused(base: Path, tmp_path: Path) -> None:
    place = lora(base, tmp_path / "adapter", lora_bias=True)
    with pytest.raises(InputError, match="lora_bias"):
        by_us(base, place)


OTHERS = {
    "IA3": lambda: peft.IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "LoHa": lambda: peft.LoHaConfig(r=4, target_modules=SOME),
    "LoKr": lambda: peft.LoKrConfig(r=4, target_modules=SOME),
    "LoKr full names": lambda: peft.LoKrConfig(r=4, target_modules=FULL, alpha_pattern={FULL[0]: 16}),
    "AdaLoRA": lambda: peft.AdaLoraConfig(target_modules=SOME, total_step=10, task_type="CAUSAL_LM"),
    "VeRA": lambda: peft.VeraConfig(r=4, target_modules=["q_proj", "o_proj"]),
    "OFT": lambda: peft.OFTConfig(oft_block_size=8, target_modules=SOME),
    "HRA": lambda: peft.HRAConfig(r=4, target_modules=SOME),
    "LN": lambda: peft.LNTuningConfig(target_modules=["input_layernorm"]),
    "FourierFT": lambda: peft.FourierFTConfig(n_frequency=50, target_modules=SOME),
    "trainable tokens": lambda: peft.TrainableTokensConfig(token_indices=[3, 7], target_modules=["embed_tokens"]),
}

# kinds that older versions of peft do not have
NEWER = {
    "UniLoraConfig": {"r": 4},
    "VBLoRAConfig": {"r": 4, "num_vectors": 16, "vector_length": 8, "topk": 2},
    "RandLoraConfig": {"r": 4},
    "MissConfig": {"r": 4},
    "HiraConfig": {"r": 4},
    "DeloraConfig": {"r": 4},
    "GraloraConfig": {"r": 4},
    "ShiraConfig": {"r": 4},
    "C3AConfig": {"block_size": 8},
    "WaveFTConfig": {"n_frequency": 50},
    "AdamssConfig": {},
    "DeftConfig": {},
    "FrodConfig": {},
    "GloraConfig": {},
    "PeanutConfig": {},
    "PsoftConfig": {"r": 4},
    "PveraConfig": {"r": 4},
    "RoadConfig": {"group_size": 8},
    "OSFConfig": {},
    "SupertuningConfig": {},
    "TinyLoraConfig": {},
}
# variants of LoRA that a field of LoraConfig chooses, by the name of the field's class
VARIANTS = {"KasaConfig": "kasa_config", "MontecloraConfig": "monteclora_config", "VeloraConfig": "velora_config"}


@pytest.mark.parametrize("name", NEWER)
def test_newer_kinds_of_adapters(base: Path, tmp_path: Path, name: str) -> None:
    if not hasattr(peft, name):
        pytest.skip(f"this peft has no {name}")
    place = trained(base, tmp_path / "adapter", getattr(peft, name)(target_modules=SOME, **NEWER[name]))
    assert difference(by_us(base, place), by_peft(base, place)) < 1e-5


@pytest.mark.parametrize("name", VARIANTS)
def test_newer_variants_of_lora(base: Path, tmp_path: Path, name: str) -> None:
    variant = getattr(peft.tuners.lora, name, None)
    if variant is None:
        pytest.skip(f"this peft has no {name}")
    config = peft.LoraConfig(target_modules=SOME, r=4, **{VARIANTS[name]: variant()})
    place = trained(base, tmp_path / "adapter", config)
    assert difference(by_us(base, place), by_peft(base, place)) < 1e-5


@pytest.mark.parametrize("name", OTHERS)
def test_other_kinds_of_adapters(base: Path, tmp_path: Path, name: str) -> None:
    place = trained(base, tmp_path / "adapter", OTHERS[name]())
    assert difference(by_us(base, place), by_peft(base, place)) < 1e-5


REFUSED = {
    "prompt tuning": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    "prefix tuning": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    "p-tuning": lambda: peft.PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=4, encoder_hidden_size=8),
}


@pytest.mark.parametrize("name", REFUSED)
def test_inputs_instead_of_weights_are_refused(base: Path, tmp_path: Path, name: str) -> None:
    place = trained(base, tmp_path / "adapter", REFUSED[name]())
    with pytest.raises(InputError, match="peft_type P"):
        by_us(base, place)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("megatron_config", {"a": 1}),
        ("arrow_config", {"top_k": 2}),
        ("alora_invocation_tokens", [3]),
        ("layer_replication", [[0, 2], [1, 3]]),
        ("a_field_of_tomorrow", 0.5),
        ("peft_type", "NONSENSE"),
        ("peft_type", None),
        ("r", 8),
        ("r", "x"),
        ("lora_alpha", None),
        ("rank_pattern", [1]),
        ("alpha_pattern", {"q_proj": "x"}),
        ("target_modules", ["nonsense"]),
        ("target_modules", 3),
        ("init_lora_weights", "corda"),
        ("layers_to_transform", [99]),
    ],
)
def test_what_cannot_be_followed_is_refused(base: Path, tmp_path: Path, field: str, value: Any) -> None:
    place = lora(base, tmp_path / "adapter")
    edit(place, **{field: value})
    with pytest.raises(InputError) as caught:
        by_us(base, place)
    line = str(caught.value)
    assert "\n" not in line
    assert str(place) in line


def test_fields_without_effect_are_no_reason_to_refuse(base: Path, tmp_path: Path) -> None:
    place = lora(base, tmp_path / "adapter")
    right = by_us(base, place)
    edit(place, a_field_of_tomorrow=None, lora_dtype="bfloat16", lorap_emb_lr=1e-6, unsloth_version="2026.1", revision="main")
    assert difference(by_us(base, place), right) == 0


def renamed(place: Path, change: Any) -> None:
    save_file({change(name): value for name, value in load_file(place / ADAPTER).items()}, place / ADAPTER)


NAMES = {
    "adapter's name": lambda name: name.replace(".weight", ".default.weight"),
    "torch.compile": lambda name: name.replace("base_model.model.", "base_model.model._orig_mod."),
    "torch.compile outside": lambda name: f"_orig_mod.{name}",
    "checkpoint wrapper": lambda name: name.replace(".self_attn.", "._checkpoint_wrapped_module.self_attn."),
    "FSDP": lambda name: name.replace("model.layers.", "model._fsdp_wrapped_module.layers."),
    "DDP": lambda name: f"module.{name}",
    "without peft's start": lambda name: name.removeprefix("base_model.model."),
    "bare decoder": lambda name: name.removeprefix("base_model.model.model."),
    "bare decoder with peft's start": lambda name: name.replace("base_model.model.model.", "base_model.model."),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_other_trainers(base: Path, tmp_path: Path, name: str) -> None:
    place = lora(base, tmp_path / "adapter")
    right = by_peft(base, place)
    renamed(place, NAMES[name])
    assert difference(by_us(base, place), right) < 1e-5


def test_adapters_of_other_tasks(base: Path, tmp_path: Path) -> None:
    for task, auto in (("FEATURE_EXTRACTION", AutoModel), ("SEQ_CLS", AutoModelForSequenceClassification)):
        place = trained(base, tmp_path / task, LoraConfig(r=4, target_modules=SOME, task_type=task), auto)
        assert difference(by_us(base, place), by_peft(base, place, auto)) < 1e-5
    full = [name.removeprefix("model.") for name in FULL]
    place = trained(base, tmp_path / "bare", LoraConfig(r=4, target_modules=full, alpha_pattern={f"^{full[0]}": 32}), AutoModel)
    assert difference(by_us(base, place), by_peft(base, place, AutoModel)) < 1e-5


def test_a_pickled_adapter(base: Path, tmp_path: Path) -> None:
    place = lora(base, tmp_path / "adapter")
    right = by_peft(base, place)
    torch.save(load_file(place / ADAPTER), place / "adapter_model.bin")
    (place / ADAPTER).unlink()
    assert difference(by_us(base, place), right) < 1e-5
    (place / "adapter_model.bin").unlink()
    with pytest.raises(InputError, match=r"holds no adapter_model\.safetensors and no adapter_model\.bin"):
        by_us(base, place)


def test_a_tied_head_leaves_the_embedding_alone(tmp_path: Path) -> None:
    """States are those of the adapted model before merging; peft's own merge adds the head's
    factors to the tied embedding.
    """
    base = tiny_llama(tmp_path / "base", tie_word_embeddings=True)
    place = lora(base, tmp_path / "adapter", target_modules=["q_proj", "lm_head"])
    ids = torch.arange(12)[None]
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), place)
    merged = AutoModel.from_pretrained(base)
    merged.load_state_dict(by_us(base, place))
    with torch.no_grad():
        right = adapted(ids, output_hidden_states=True).hidden_states[-1]
        assert (merged(ids).last_hidden_state - right).abs().max() < 1e-4


def test_tokens_added_before_training(base: Path, tmp_path: Path) -> None:
    larger = AutoModelForCausalLM.from_pretrained(base)
    rows = len(larger.get_input_embeddings().weight)
    larger.resize_token_embeddings(rows + 3)
    larger.save_pretrained(tmp_path / "larger")
    place = lora(tmp_path / "larger", tmp_path / "adapter", modules_to_save=["embed_tokens", "lm_head"])
    own = by_us(base, place)
    assert len(own["embed_tokens.weight"]) == rows + 3
    assert difference(own, by_peft(tmp_path / "larger", place)) < 1e-5


def test_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    place = lora(base, tmp_path / "adapter")
    for name, options in {
        "wider": {"hidden_size": 64},
        "deeper": {"num_hidden_layers": 5},
        "shallower": {"num_hidden_layers": 3},
    }.items():
        other = tiny_llama(tmp_path / name, **{"num_hidden_layers": 4, **options})
        with pytest.raises(InputError, match="does not fit LlamaModel"):
            by_us(other, place)
    renamed(place, lambda name: name.replace("model.layers.", "transformer.h."))
    with pytest.raises(InputError, match="does not fit LlamaModel"):
        by_us(base, place)


@pytest.mark.parametrize("change", ["a tensor less", "a tensor more", "a tensor of a layer without"])
def test_every_tensor_has_its_place(base: Path, tmp_path: Path, change: str) -> None:
    place = lora(base, tmp_path / "adapter")
    tensors = load_file(place / ADAPTER)
    first = next(iter(tensors))
    if change == "a tensor less":
        del tensors[first]
    else:
        name = "extra" if change == "a tensor more" else "o_proj"
        tensors[first.replace("down_proj", name).replace("mlp", "self_attn" if name == "o_proj" else "mlp")] = tensors[
            first
        ].clone()
    save_file(tensors, place / ADAPTER)
    with pytest.raises(InputError, match=r"1 of its tensors (find no place|are missing)"):
        by_us(base, place)


def test_numbers_that_are_none_are_refused(base: Path, tmp_path: Path) -> None:
    place = lora(base, tmp_path / "adapter")
    tensors = load_file(place / ADAPTER)
    next(iter(tensors.values()))[0, 0] = float("nan")
    save_file(tensors, place / ADAPTER)
    with pytest.raises(InputError, match="NaN"):
        by_us(base, place)


def test_a_damaged_adapter_is_one_line(base: Path, tmp_path: Path) -> None:
    whole = lora(base, tmp_path / "adapter")
    for name in (CONFIG, ADAPTER):
        for noise in (b"", b"{", b"[]", b"null", b"\x00" * 100, b"[" * 50_000):
            place = shutil.copytree(whole, tmp_path / "damaged", dirs_exist_ok=True)
            (place / name).write_bytes(noise)
            with pytest.raises(InputError, match=name) as caught:
                by_us(base, place)
            assert "\n" not in str(caught.value)
