"""How a backbone runs is measured once: a later process makes no pass over its weights before it encodes."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPTJConfig
from transformers.models.llama import modeling_llama
from transformers.models.llama.modeling_llama import LlamaMLP

import bothways as bw
from bothways.attention import direction
from bothways.encoder import prepare_backbone
from bothways.encoder.prepare_backbone import prepare
from tiny import SENTENCES, tiny_llama, tiny_model


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("BOTHWAYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BOTHWAYS_MEASURED", "1")
    return tmp_path / "cache" / "measured"


def saved(tmp_path: Path) -> Path:
    bw.convert(tiny_llama(tmp_path / "base"), dtype="float32", device="cpu").save(tmp_path / "encoder")
    return tmp_path / "encoder"


def measured_again(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is measured from here on."""
    asked: list[str] = []
    for module, name in ((prepare_backbone, "measure_execution"), (direction, "needs_eager")):
        plain = getattr(module, name)

        def call(model: torch.nn.Module, name: str = name, plain: Any = plain) -> Any:
            asked.append(name)
            return plain(model)

        monkeypatch.setattr(module, name, call)
    return asked


def test_a_later_process_computes_nothing_before_the_first_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tmp_path)
    first = bw.load(folder, dtype="float32", device="cpu")
    asked = measured_again(monkeypatch)
    passes: list[int] = []
    forward = torch.nn.Linear.forward

    def counted(self: torch.nn.Linear, rows: torch.Tensor) -> torch.Tensor:
        passes.append(1)
        return forward(self, rows)

    monkeypatch.setattr(torch.nn.Linear, "forward", counted)
    monkeypatch.setattr(prepare_backbone, "_code", lambda kind: "as it was")
    bw.load(folder, dtype="float32", device="cpu")
    assert len(asked) == 2 and len(passes) > 0, "with code that is not known it is measured"
    asked.clear()
    passes.clear()
    second = bw.load(folder, dtype="float32", device="cpu")
    assert asked == [] and passes == []
    assert second.execution == first.execution == "packed"
    assert second.provenance["report"] == first.provenance["report"]
    assert second.encode(SENTENCES).tobytes() == first.encode(SENTENCES).tobytes()
    assert bw.doctor(second).ok


def test_what_the_answer_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    folder = saved(tmp_path)

    def load(**options: Any) -> Any:
        return bw.load(folder, **{"dtype": "float32", "device": "cpu", **options})

    load()
    asked = measured_again(monkeypatch)
    load()
    assert asked == []
    load(dtype="bfloat16")
    assert len(asked) == 2
    asked.clear()
    with monkeypatch.context() as patch:
        patch.setattr(LlamaMLP, "forward", lambda self, x: self.down_proj(self.up_proj(x)))
        load()
    assert len(asked) == 2
    asked.clear()
    with monkeypatch.context() as patch:
        plain = modeling_llama.create_causal_mask
        patch.setattr(
            modeling_llama, "create_causal_mask", functools.wraps(plain)(lambda *given, **named: plain(*given, **named))
        )
        load()
    assert len(asked) == 2, "a function of the model's file was replaced"
    asked.clear()
    base = bw.convert(tiny_llama(tmp_path / "other", seed=1), dtype="float32", device="cpu")
    assert base.execution == "packed" and len(asked) == 2
    for file in cache.iterdir():
        file.write_text(file.read_text().replace("packed", "padded"))
    asked.clear()
    assert load().execution == "packed" and len(asked) == 2, "a damaged entry is not used"


def test_hooks_and_replaced_functions_are_measured_each_time(tmp_path: Path, cache: Path) -> None:
    model = bw.convert(tiny_llama(tmp_path / "base"), dtype="float32", device="cpu").backbone
    before = len(list(cache.iterdir()))
    handle = model.layers[0].mlp.register_forward_hook(lambda *_: None)  # type: ignore[union-attr, index]
    prepare(model, "bidirectional")
    handle.remove()
    model.layers[0].mlp.forward = model.layers[0].mlp.forward  # type: ignore[union-attr, index]
    prepare(model, "bidirectional")
    assert len(list(cache.iterdir())) == before


def test_a_padded_family_stays_padded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "rotary_dim": 4}
    base = tiny_model(tmp_path / "gptj", GPTJConfig, **config)
    first = bw.convert(base, dtype="float32", device="cpu")
    asked = measured_again(monkeypatch)
    second = bw.convert(base, dtype="float32", device="cpu")
    assert asked == [] and second.execution == first.execution == "padded"
    assert np.array_equal(second.encode(SENTENCES), first.encode(SENTENCES))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.uint8, torch.complex64])
def test_weights_of_every_type_are_sampled(dtype: torch.dtype) -> None:
    given = [torch.arange(n, dtype=torch.float32).to(dtype) for n in (0, 1, 3, 4, 5, 1000)]
    other = [each.clone() for each in given]
    assert prepare_backbone._sampled(given) == prepare_backbone._sampled(other)
    other[5][0] = torch.ones(()).to(dtype)
    assert prepare_backbone._sampled(given) != prepare_backbone._sampled(other)
