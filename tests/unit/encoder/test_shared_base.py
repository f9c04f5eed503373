"""Adapters over one copy of their base give the vectors that each gives merged."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.backbone.adapter.adapter_files import save_adapter
from bothways.backbone.adapter.lora import attach, lora_layers
from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.encoder.folder.adapter_settings import write_adapter_settings
from bothways.encoder.shared_base import load_over_one_base
from bothways.errors import InputError
from tiny import SENTENCES, tiny_llama

NEAR = 2e-5  # float32 sums in another order
PAIRS = [["Find it:", "a cat"], ["", "the river runs to the sea"], *[["", text] for text in SENTENCES]]


def adapter(base: Path, folder: Path, seed: int, pooling: str = "mean", **config: object) -> Path:
    """An adapter of ours with random factors, as a stage keeps it."""
    encoder = bw.convert(base, dtype="float32", device="cpu", pooling=pooling, prompts={"query": f"Find {seed}: "})
    lora = LoraConfig(r=4, **config)
    attach(encoder.backbone, lora, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for _, layer in lora_layers(encoder.backbone):
        for factor in layer.lora_B.values():
            factor.weight.data = 0.3 * torch.randn(factor.weight.shape, generator=generator)
    save_adapter(encoder.backbone, lora, folder, base=str(base))
    write_adapter_settings(encoder, folder)
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Adapters of different ranks, layers and poolings."""
    folder = tmp_path_factory.mktemp("shared")
    base = tiny_llama(folder / "base")
    return {
        "one": adapter(base, folder / "one", 1),
        "two": adapter(base, folder / "two", 2, "last", targets=("q_proj", "v_proj")),
        "three": adapter(base, folder / "three", 3, use_dora=True),
    }


def test_vectors_are_those_of_each_adapter_merged(places: dict[str, Path]) -> None:
    shared = load_over_one_base(places, dtype="float32", device="cpu")
    merged = {name: bw.load(place, dtype="float32", device="cpu") for name, place in places.items()}
    found = {name: encoder.encode(PAIRS) for name, encoder in shared.items()}
    for name in (*places, *reversed(places)):  # in turns
        np.testing.assert_allclose(shared[name].encode(PAIRS), merged[name].encode(PAIRS), atol=NEAR)
        np.testing.assert_array_equal(shared[name].encode(PAIRS), found[name])
        assert shared[name].options == merged[name].options
        np.testing.assert_allclose(shared[name].encode_query(SENTENCES), merged[name].encode_query(SENTENCES), atol=NEAR)
    assert np.abs(found["one"] - found["three"]).max() > 1e-2
    base = bw.convert(places["one"].parent / "base", dtype="float32", device="cpu")
    assert np.abs(found["one"] - base.encode(PAIRS)).max() > 1e-2


def test_there_is_one_copy_of_the_base(places: dict[str, Path]) -> None:
    shared = load_over_one_base(places, dtype="float32", device="cpu")
    backbones = {id(encoder.backbone) for encoder in shared.values()}
    assert len(backbones) == 1
    backbone = shared["one"].backbone
    base = bw.convert(places["one"].parent / "base", dtype="float32", device="cpu").backbone
    factors = sum(p.numel() for name, p in backbone.named_parameters() if ".lora_" in name)
    assert sum(p.numel() for p in backbone.parameters()) - factors == sum(p.numel() for p in base.parameters())
    assert not any(p.requires_grad for p in backbone.parameters())


def test_threads_do_not_mix_adapters(places: dict[str, Path]) -> None:
    shared = load_over_one_base(places, dtype="float32", device="cpu")
    expected = {name: encoder.encode(SENTENCES) for name, encoder in shared.items()}
    wrong: list[str] = []

    def work(name: str) -> None:
        for _ in range(10):
            if not np.array_equal(shared[name].encode(SENTENCES), expected[name]):
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in shared]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_cannot_share_a_base_is_refused(places: dict[str, Path], tmp_path: Path) -> None:
    base = places["one"].parent / "base"
    with pytest.raises(InputError, match="base: is not an adapter that a stage kept"):
        load_over_one_base({"one": places["one"], "base": base})
    other = adapter(tiny_llama(tmp_path / "other", seed=5), tmp_path / "x", 4)
    with pytest.raises(
        InputError, match=r"has the base .*other, and .*one has .*base; adapters that share a base need the same one"
    ):
        load_over_one_base({"one": places["one"], "x": other})
    whole = adapter(base, tmp_path / "whole", 6, train_whole=("norm",))
    with pytest.raises(InputError, match="holds weights that were trained in full, so it cannot share its base"):
        load_over_one_base({"one": places["one"], "whole": whole})
    needs = json.loads((other / "bothways.json").read_text())
    needs["encoder"]["vocabulary"] += 1
    (other / "bothways.json").write_text(json.dumps(needs))
    with pytest.raises(InputError, match="has tokens of its own, so it cannot share its base"):
        load_over_one_base({"x": other})
