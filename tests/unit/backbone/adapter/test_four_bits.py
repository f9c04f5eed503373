"""QLoRA: the rounded model is the one that transformers and peft load in 4 bits, and the adapter is
merged into the whole weights. The runs need bitsandbytes (make qlora).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, GPT2Config

import bothways as bw
from bothways.backbone.adapter import four_bits, lora
from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.backbone.loading.sources import load_pretrained
from bothways.errors import InputError, MissingExtra
from tiny import SENTENCES, tiny_llama, tiny_model
from unit.training.material import TEXTS, interrupted, metrics, recipe, simcse

needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed: make qlora")
QLORA = {"r": 4, "dropout": 0.0, "load_in_4bit": True}
IDS = torch.tensor([[5, 9, 30, 77, 200, 41, 300, 12]])


def states(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).last_hidden_state


def test_without_bitsandbytes_the_line_to_type_is_said_before_any_work(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(four_bits, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"needs bitsandbytes, .*; run: pip install 'bothways\[qlora\]'") as caught:
        bw.train(recipe(tmp_path, simcse(adapter=QLORA)), tmp_path / "out", texts=TEXTS)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_fsdp_is_refused_in_one_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(four_bits, "find_spec", lambda name: object())
    for name, value in {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    from bothways.training.loop import stage_runner
    from bothways.training.parallel.sharding import Sharding
    from bothways.training.stage.stage_context import StageContext

    chosen = recipe(tmp_path, simcse(adapter=QLORA))
    context = next(iter(StageContext.all_of(chosen)))

    class Run:
        class parallel:
            sharding = Sharding()

        class accelerator:
            device = torch.device("cpu")

        texts = TEXTS

    with pytest.raises(InputError, match=r"stages\.simcse\.adapter\.load_in_4bit: .* not split by FSDP; use ZeRO"):
        stage_runner._StageRunner(context, Run).train(resume=False, offset=0, check_others=False)  # type: ignore[arg-type]


@needs_bitsandbytes
def test_the_rounded_model_is_that_of_transformers_and_peft(tmp_path: Path) -> None:
    """Each rounds the same weights; the factors are ours."""
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model
    from transformers import BitsAndBytesConfig

    base = tiny_llama(tmp_path / "base")
    config = LoraConfig(**QLORA)
    model = load_pretrained(base, dtype="float32").model.eval()
    plain = states(model)
    count = sum(parameter.numel() for parameter in model.parameters())
    names = lora.attach(model, config)
    factors = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert four_bits.whole_count(model) == count + factors
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 0.1
    rounding = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32
    )
    other = AutoModel.from_pretrained(base, quantization_config=rounding, dtype=torch.float32, device_map={"": "cpu"}).eval()
    for layer in other.modules():
        layer.support_avx512bf16_for_cpu = False  # which would compute in bfloat16
    wrapped = get_peft_model(other, PeftConfig(r=4, lora_alpha=8, target_modules=names))
    own = {f"base_model.model.{name}": value for name, value in lora.adapter_state(model).items()}
    assert own.keys() == {name for name, parameter in wrapped.named_parameters() if parameter.requires_grad}
    wrapped.load_state_dict(own, strict=False)
    torch.testing.assert_close(states(model), states(wrapped.eval()), atol=1e-5, rtol=1e-5)
    with lora.adapter_off(model):
        assert (states(model) - plain).abs().max() > 1e-3  # rounded


@needs_bitsandbytes
def test_a_stage_trains_on_rounded_weights_and_merges_into_whole_ones(tmp_path: Path) -> None:
    """The product is the base in float32 with the kept adapter, as peft merges them."""
    from peft import PeftModel

    optim = {"lr": 1e-2, "steps": 4, "schedule": "constant"}
    chosen = recipe(tmp_path, simcse(adapter=QLORA, optim=optim, keep="both", save_every=2, log_every=1))
    bw.train(chosen, tmp_path / "out", texts=TEXTS)
    losses = [line["loss"] for line in metrics(tmp_path / "out") if "loss" in line]
    assert losses[0] > losses[-1]
    kept = tmp_path / "out" / "adapters" / "1-simcse"
    merged = PeftModel.from_pretrained(AutoModel.from_pretrained(tmp_path / "base"), kept).merge_and_unload()
    found = AutoModel.from_pretrained(tmp_path / "out").state_dict()
    for name, value in merged.state_dict().items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-5)
    assert {value.dtype for value in found.values()} == {torch.float32}
    # the base's weights were rounded while it trained
    whole = recipe(tmp_path, simcse(adapter={"r": 4, "dropout": 0.0}, optim=optim, save_every=None, log_every=1))
    bw.train(whole, tmp_path / "whole", texts=TEXTS)
    vectors = [bw.load(tmp_path / name, dtype="float32").encode(list(SENTENCES)) for name in ("out", "whole")]
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-4
    measured = bw.train(chosen, dry_run=True, texts=TEXTS).stages[0]
    assert measured.parameters == bw.train(whole, dry_run=True, texts=TEXTS).stages[0].parameters


@needs_bitsandbytes
def test_a_stopped_run_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = simcse(adapter=QLORA, optim={"lr": 1e-2, "steps": 8})
    bw.train(recipe(tmp_path, stage), tmp_path / "whole", texts=TEXTS)
    interrupted(recipe(tmp_path, stage), tmp_path / "out", monkeypatch)
    bw.train(recipe(tmp_path, stage), tmp_path / "out", texts=TEXTS, resume=True)
    whole, found = (AutoModel.from_pretrained(tmp_path / name).state_dict() for name in ("whole", "out"))
    base = AutoModel.from_pretrained(tmp_path / "base").state_dict()
    assert all(torch.equal(whole[name], found[name]) for name in whole)
    assert any(not torch.equal(whole[name], base[name]) for name in whole)


@needs_bitsandbytes
def test_layers_that_cannot_be_rounded_are_refused(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "gpt2", GPT2Config, n_embd=32, n_layer=2, n_head=4)
    model = load_pretrained(base, dtype="float32").model
    with pytest.raises(InputError, match=r"^adapter\.load_in_4bit: the decoder blocks of GPT2Model have no linear layers"):
        lora.attach(model, LoraConfig(**QLORA))
