"""The switch: which fields it sets, what it leaves alone, and that it can be undone."""

import json

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from bothways.attention.direction import ORIGINAL, direction_of, set_direction
from bothways.attention.text_config import UNBOUNDED, windowed_layers
from bothways.backbone.family import zoo
from bothways.errors import InputError, UnsupportedFamily


def test_config_and_layers_say_bidirectional_and_causal_again():
    model = zoo.build("llama")
    before = model.config.to_dict()
    assert direction_of(model) == "causal"
    report = set_direction(model, "bidirectional")
    assert report.direction == direction_of(model) == "bidirectional"
    assert model.config.is_causal is False and model.config.use_bidirectional_attention is True
    assert not any(m.is_causal for m in model.modules() if hasattr(m, "is_causal"))
    set_direction(model, "causal")
    assert direction_of(model) == "causal"
    assert all(m.is_causal for m in model.modules() if hasattr(m, "is_causal"))
    assert model.config.to_dict() == {**before, "is_causal": True}


def test_gemma4_gets_the_word_it_declares():
    model = zoo.build("gemma4_text")
    set_direction(model, "bidirectional")
    assert model.config.use_bidirectional_attention == "all"


def test_windows_become_null_without_layer_types_and_endless_with_them(tmp_path):
    mistral, gemma = zoo.build("mistral"), zoo.build("gemma3_text")
    kinds, rope = list(gemma.config.layer_types), dict(gemma.config.rope_parameters)
    report = set_direction(mistral, "bidirectional")
    assert mistral.config.sliding_window is None and report.lifted_windows == dict.fromkeys(range(4), zoo.WINDOW)
    set_direction(gemma, "bidirectional")
    assert gemma.config.sliding_window == UNBOUNDED
    assert gemma.config.layer_types == kinds and gemma.config.rope_parameters == rope, "the types carry RoPE; they must stay"
    mistral.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["sliding_window"] is None, "vLLM reads null, not absence"


@pytest.mark.parametrize("windows", ["lift", "keep"])
@pytest.mark.parametrize("family", ["gemma3_text", "gemma3n_text", "gemma4_text", "cohere2", "mistral"])
def test_windows_survive_any_number_of_saves(family, windows, tmp_path):
    """Gemma 3 halves its window at every load under the flag; Gemma 3n doubles it at every save."""
    model = zoo.build(family)
    set_direction(model, "bidirectional", windows=windows)
    meant = windowed_layers(model.config)
    assert bool(meant) == (windows == "keep")
    config = model.config
    for _ in range(3):
        config.save_pretrained(tmp_path)
        config = AutoConfig.from_pretrained(tmp_path)
        assert windowed_layers(config) == meant
        assert config.is_causal is False


@pytest.mark.parametrize("family", ["mistral", "gemma3_text", "cohere2", "llama4_text", "gemma4_text"])
def test_a_saved_folder_can_be_made_causal_again(family, tmp_path):
    model = zoo.build(family)
    ids = torch.randint(5, 90, (1, 11), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model(input_ids=ids, use_cache=False).last_hidden_state
    windows = windowed_layers(model.config)
    set_direction(model, "bidirectional")
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path, attn_implementation="eager").eval()
    with torch.no_grad():
        assert (loaded(input_ids=ids, use_cache=False).last_hidden_state - before).abs().max() > 0.1
        set_direction(loaded, "causal")
        after = loaded(input_ids=ids, use_cache=False).last_hidden_state
    assert windowed_layers(loaded.config) == windows and not hasattr(loaded.config, ORIGINAL)
    torch.testing.assert_close(after, before, atol=1e-6, rtol=1e-6)


def test_switching_twice_remembers_the_first_original():
    model = zoo.build("mistral")
    set_direction(model, "bidirectional")
    again = set_direction(model, "bidirectional")
    assert again.lifted_windows == {}
    set_direction(model, "causal")
    assert model.config.sliding_window == zoo.WINDOW


def test_kept_windows_are_reported():
    report = set_direction(zoo.build("mistral"), "bidirectional", windows="keep")
    assert report.kept_windows == dict.fromkeys(range(4), zoo.WINDOW) and not report.lifted_windows
    assert any("kept" in note for note in report.notes)
    assert json.loads(json.dumps(report.as_dict()))["kept_windows"] == {str(i): zoo.WINDOW for i in range(4)}


def test_encoder_only_backbones_have_nothing_to_switch():
    model = zoo.build("bert")
    before = model.config.to_dict()
    report = set_direction(model, "bidirectional")
    assert report.notes == ("bert is bidirectional by nature: nothing was switched",) and model.config.to_dict() == before
    with pytest.raises(UnsupportedFamily, match="bert"):
        set_direction(model, "causal")


def test_bad_arguments():
    model = zoo.build("llama")
    with pytest.raises(InputError, match="direction: must be"):
        set_direction(model, "both")
    with pytest.raises(InputError, match="windows: must be"):
        set_direction(model, "bidirectional", windows="open")
    with pytest.raises(UnsupportedFamily, match="chunks cannot be kept"):
        set_direction(zoo.build("llama4_text"), "bidirectional", windows="keep")
    with pytest.raises(UnsupportedFamily, match="not a transformers model"):
        set_direction(nn.Linear(2, 2), "bidirectional")
