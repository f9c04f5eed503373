"""LoRA: what is adapted, that a fresh adapter changes nothing, that merged equals adapter, and the
published counts.
"""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModel, GPT2Config, LlamaConfig, MambaConfig, MistralConfig

from bothways.backbone.adapter import lora, merging
from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.errors import InputError

TINY = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64}
SEVEN = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
IDS = torch.arange(12).reshape(1, 12) * 5 % 64


def tiny(config=None, seed: int = 0):
    torch.manual_seed(seed)
    return AutoModel.from_config(config or LlamaConfig(**TINY, num_key_value_heads=2)).eval()


def shake(model, scale: float = 0.3) -> None:
    """Give the adapter's zero factor values, as training would."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * scale


def states(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).last_hidden_state


# Real configurations, written out: the counts of methods.md 1a (LLM2Vec, rank 16).
PUBLISHED = {
    "llama-2-7b": (
        LlamaConfig(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=32000),
        39_976_960,
    ),
    "mistral-7b": (
        MistralConfig(
            hidden_size=4096,
            intermediate_size=14336,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
            vocab_size=32000,
        ),
        41_943_040,
    ),
    "llama-3-8b": (
        LlamaConfig(
            hidden_size=4096,
            intermediate_size=14336,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
            vocab_size=128256,
        ),
        41_943_040,
    ),
    "sheared-llama-1.3b": (
        LlamaConfig(hidden_size=2048, intermediate_size=5504, num_hidden_layers=24, num_attention_heads=16, vocab_size=32000),
        14_991_360,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_trainable_counts_on_the_meta_device(name: str) -> None:
    config, expected = PUBLISHED[name]
    model = lora.meta_model(config)
    counted = lora.trainable_counts(model, LoraConfig(r=16))
    assert counted.trainable == expected
    # the prediction equals what peft really builds
    lora.attach(model, LoraConfig(r=16))
    assert lora.trainable_counts(model) == counted
    assert all(parameter.is_meta for parameter in model.parameters())


@pytest.mark.parametrize("config", [None, GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=64)], ids=["llama", "gpt2"])
def test_fresh_adapter_changes_nothing_and_merged_equals_adapter(config) -> None:
    model = tiny(config)
    plain = states(model)
    lora.attach(model, LoraConfig(r=4, dropout=0.5))
    assert torch.equal(states(model.eval()), plain)  # B is zero

    shake(model)
    adapted = states(model)
    assert (adapted - plain).abs().max() > 0.05  # the comparison below is not vacuous
    with lora.adapter_off(model):
        assert torch.equal(states(model), plain)
    assert torch.equal(states(model), adapted)

    difference = lora.merge_adapter(model, verify=lambda: states(model))
    # two roundings per layer in float32
    assert difference < 1e-5
    torch.testing.assert_close(states(model), adapted, atol=1e-5, rtol=1e-5)
    assert not list(lora.lora_layers(model))
    assert not any("lora" in name for name in model.state_dict())
    assert not hasattr(model, "peft_config")


@pytest.mark.parametrize("options", [{"use_rslora": True}, {"use_dora": True}, {"use_rslora": True, "use_dora": True}])
@pytest.mark.parametrize("config", [None, GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=64)], ids=["llama", "gpt2"])
def test_variants_are_those_of_peft_and_merge(config, options) -> None:
    """Against a model that peft itself wraps, with the same factors."""
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model

    model, plain = tiny(config), states(tiny(config))
    chosen = LoraConfig(r=4, alpha=6, dropout=0.0, **options)
    counted = lora.trainable_counts(model, chosen)
    names = lora.attach(model, chosen)
    assert lora.trainable_counts(model) == counted
    torch.testing.assert_close(states(model), plain, atol=1e-5, rtol=1e-5)
    shake(model)
    for name, parameter in model.named_parameters():
        if "magnitude" in name:
            parameter.data *= 1.3
    wrapped = get_peft_model(tiny(config), PeftConfig(r=4, lora_alpha=6, target_modules=names, **options)).eval()
    own = {f"base_model.model.{name}": value for name, value in lora.adapter_state(model).items()}
    assert own.keys() == {name for name, parameter in wrapped.named_parameters() if parameter.requires_grad}
    wrapped.load_state_dict(own, strict=False)
    adapted = states(model)
    torch.testing.assert_close(adapted, states(wrapped), atol=1e-5, rtol=1e-5)
    assert (adapted - plain).abs().max() > 0.05
    assert lora.merge_adapter(model, verify=lambda: states(model)) < 1e-4
    torch.testing.assert_close(states(model), adapted, atol=1e-4, rtol=1e-4)


def test_the_scale_of_a_variant() -> None:
    assert LoraConfig(r=16).scaling == 2 and LoraConfig(r=16, alpha=8).scaling == 0.5
    assert LoraConfig(r=16, alpha=8, use_rslora=True).scaling == 2


def test_merge_equals_the_formula_in_float64() -> None:
    model = tiny()
    before = copy.deepcopy(model.layers[0].mlp.down_proj.weight.data).double()
    lora.attach(model, LoraConfig(r=4, alpha=6))
    shake(model)
    layer = model.layers[0].mlp.down_proj
    a, b = layer.lora_A["default"].weight.double(), layer.lora_B["default"].weight.double()
    expected = before + 6 / 4 * b @ a
    lora.merge_adapter(model)
    torch.testing.assert_close(model.layers[0].mlp.down_proj.weight.double(), expected, atol=1e-6, rtol=1e-6)


def test_a_wrong_merge_is_caught() -> None:
    model = tiny()
    lora.attach(model, LoraConfig(r=4))
    shake(model)
    target = next(layer for _, layer in lora.lora_layers(model))
    original = target.get_delta_weight
    target.get_delta_weight = lambda name: original(name) * 2
    with pytest.raises(RuntimeError, match="merging changed the hidden states"):
        lora.merge_adapter(model, verify=lambda: states(model))


def test_adapter_is_float32_over_bfloat16_and_refuses_to_merge_there() -> None:
    model = tiny().to(torch.bfloat16)
    lora.attach(model, LoraConfig(r=4))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(trained) == 2 * 2 * len(SEVEN)
    assert all(parameter.dtype == torch.float32 for parameter in trained)
    assert model.layers[0].self_attn.q_proj.base_layer.weight.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="float32"):
        lora.merge_adapter(model)


def test_initialisation_is_a_function_of_the_seed_and_leaves_the_global_generator_alone() -> None:
    def factors(seed: int, noise: int) -> dict[str, torch.Tensor]:
        model = tiny()
        torch.manual_seed(noise)
        expected = torch.rand(1)
        torch.manual_seed(noise)
        lora.attach(model, LoraConfig(r=4), seed=seed)
        assert torch.equal(torch.rand(1), expected)
        return lora.adapter_state(model)

    one, same, other = factors(3, 0), factors(3, 1), factors(4, 0)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_a_second_adapter_is_refused_until_the_first_is_merged() -> None:
    model = tiny()
    lora.attach(model, LoraConfig(r=2))
    with pytest.raises(InputError, match="already carries"):
        lora.attach(model, LoraConfig(r=2))
    lora.merge_adapter(model)
    lora.attach(model, LoraConfig(r=2))


def test_state_round_trip_and_saved_adapter(tmp_path) -> None:
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model

    model = tiny()
    lora.attach(model, LoraConfig(r=4))
    shake(model)
    twin = tiny()
    lora.attach(twin, LoraConfig(r=4), seed=9)
    lora.load_adapter_state(twin, lora.adapter_state(model))
    assert torch.equal(states(twin.eval()), states(model.eval()))

    published = get_peft_model(tiny(), PeftConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"]))
    shake(published)
    published.save_pretrained(tmp_path)
    loaded = tiny()
    merging.merge_saved(loaded, tmp_path)
    torch.testing.assert_close(states(loaded), states(published.eval()), atol=1e-5, rtol=1e-5)
    assert (states(loaded) - states(tiny())).abs().max() > 0.05
    other = tiny(LlamaConfig(**{**TINY, "num_hidden_layers": 3}, num_key_value_heads=2))
    with pytest.raises(InputError, match="does not fit LlamaModel"):
        merging.merge_saved(other, tmp_path)
    with pytest.raises(InputError, match=r"adapter_config\.json"):
        merging.merge_saved(tiny(), tmp_path.parent)


def test_pissa_starts_from_the_largest_singular_vectors_and_changes_nothing() -> None:
    """B A is the truncated singular value decomposition of W, and the rest is left in the base."""
    model = tiny()
    plain = copy.deepcopy(model)
    before = states(model)
    names = lora.attach(model, LoraConfig(r=4, dropout=0.0, init_lora_weights="pissa"))
    torch.testing.assert_close(states(model), before, atol=1e-5, rtol=1e-4)
    for name in names:
        layer = model.get_submodule(name)
        weight = plain.get_submodule(name).weight.detach().double()
        left, sizes, right = torch.linalg.svd(weight, full_matrices=False)
        best = left[:, :4] * sizes[:4] @ right[:4]
        torch.testing.assert_close(layer.get_delta_weight("default").double(), best, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(layer.get_base_layer().weight.double(), weight - best, atol=1e-5, rtol=1e-4)
    shake(model)
    moved = states(model)
    assert (moved - before).abs().max() > 1e-2
    assert lora.merge_adapter(model, verify=lambda: states(model)) < 1e-5
    torch.testing.assert_close(states(model), moved, atol=1e-4, rtol=1e-4)


def test_a_layer_that_peft_cannot_adapt_is_refused_in_one_line() -> None:
    config = MambaConfig(hidden_size=32, num_hidden_layers=2, state_size=4, vocab_size=64)
    with pytest.raises(InputError, match=r"^adapter\.targets: MambaModel: .*Module 'out_proj' is incompatible") as caught:
        lora.attach(tiny(config), LoraConfig(r=2))
    assert "\n" not in str(caught.value)
    assert lora.attach(tiny(config), LoraConfig(r=2, targets=("in_proj",))) == [
        "layers.0.mixer.in_proj",
        "layers.1.mixer.in_proj",
    ]
