"""One of several adapters acts at a time, as plain peft has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModel

from bothways.backbone.adapter.unmerged import activate, attach_saved
from bothways.errors import InputError
from tiny import tiny_llama

IDS = torch.tensor([[5, 9, 40, 7, 3]])


def saved(base: Path, folder: Path, seed: int, **config: Any) -> Path:
    """An adapter that plain peft has made over the bare decoder."""
    torch.manual_seed(seed)
    model = get_peft_model(AutoModel.from_pretrained(base), LoraConfig(r=4, init_lora_weights=False, **config))
    model.save_pretrained(str(folder))
    return folder


def states(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).last_hidden_state


def test_each_acts_alone_as_in_peft(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base")
    places = [
        saved(base, tmp_path / "a", 1, target_modules=["q_proj", "down_proj"]),
        saved(base, tmp_path / "b", 2, target_modules=["v_proj"], lora_alpha=32),
    ]
    model = AutoModel.from_pretrained(base).eval()
    plain = states(model)
    names = attach_saved(model, places)
    model.eval()
    assert len(set(names)) == 2
    for turn in (0, 1, 0):
        activate(model, names[turn])
        expected = states(PeftModel.from_pretrained(AutoModel.from_pretrained(base), str(places[turn])).eval())
        torch.testing.assert_close(states(model), expected, atol=1e-5, rtol=1e-5)
        assert (states(model) - plain).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"target_modules": ["q_proj"], "bias": "all"}, "trains biases"),
        ({"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}, "holds weights that were trained in full"),
    ],
)
def test_adapters_that_change_the_base_are_refused(tmp_path: Path, config: dict, message: str) -> None:
    base = tiny_llama(tmp_path / "base")
    place = saved(base, tmp_path / "a", 1, **config)
    with pytest.raises(InputError, match=message):
        attach_saved(AutoModel.from_pretrained(base), [place])


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    place = saved(tiny_llama(tmp_path / "wide", hidden_size=64), tmp_path / "a", 1, target_modules=["q_proj"])
    with pytest.raises(InputError, match="the adapter does not fit LlamaModel"):
        attach_saved(AutoModel.from_pretrained(tiny_llama(tmp_path / "base")), [place])
