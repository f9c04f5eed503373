"""OpenVINO itself: graphs without weights of several families, and the weights that are put in."""

from __future__ import annotations

import copy
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.backbone.linears.shared_input import linears_of
from bothways.exports.graphs.short import bare_graph
from bothways.exports.graphs.short.graph_proof import padded_run, prove
from bothways.exports.graphs.short.int8_graph import NARROW, WIDE
from bothways.exports.graphs.short.short_passes import TOKENS
from export_models import small_model
from tiny import tiny_llama

pytest.importorskip("openvino")

TEXTS = ["a cat", ("Find: ", "a cat sits"), "오늘은 날씨가 좋아서", "x"]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("BOTHWAYS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def near(a: Any, b: Any) -> bool:
    return bool(np.abs(np.asarray(a) - np.asarray(b)).max() < 1e-5)


@pytest.mark.parametrize(
    ("model_type", "fields", "options"),
    [
        ("llama", {}, {"pooling": "weighted_mean"}),
        ("gemma3_text", {"sliding_window": 4}, {"windows": "keep"}),
        ("mistral", {"sliding_window": 4}, {"windows": "lift"}),
        ("gpt2", {}, {"pooling": "last"}),
        ("bloom", {}, {}),
        ("qwen3", {}, {"pooling": "latent_attention"}),
    ],
)
def test_families(tmp_path: Path, model_type: str, fields: dict[str, Any], options: dict[str, Any]) -> None:
    encoder = bw.convert(small_model(tmp_path / "base", model_type, **fields), dtype="float32", device="cpu", **options)
    file = tmp_path / "graph.xml"
    bare_graph.write(encoder, file, TOKENS, model_type)
    assert file.with_suffix(".bin").stat().st_size < 100_000, "the weights are not in the file"
    found = prove(encoder, bare_graph.open_run(file, encoder, 1), TOKENS)
    assert found.least > 0.99999


def rounded_weight(weight: torch.Tensor, size: int) -> torch.Tensor:
    """Round to int8 with a scale for each `size` numbers, in float64."""
    blocks = weight.detach().double().unflatten(1, (-1, size))
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    return ((blocks / scale).round() * scale).flatten(1).float()


def test_int8_rounds_weights_and_with_wide_blocks_the_inputs(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base", hidden_size=64, intermediate_size=128, tokenizer={"add_bos": True})
    encoder = bw.convert(base, dtype="float32", device="cpu")
    file = tmp_path / "graph.xml"
    bare_graph.write(encoder, file, TOKENS, "llama")
    layers = linears_of(encoder.backbone)
    row = encoder.tokenize(["a cat sits on the warm sill"])[0]
    off = {}
    for size in (NARROW, WIDE):
        run = bare_graph.open_run(file, encoder, 1, {f"backbone.{name}.weight": size for name in layers}, WIDE)
        other = copy.deepcopy(encoder)
        with torch.no_grad():
            for layer in linears_of(other.backbone).values():
                layer.weight.copy_(rounded_weight(layer.weight, size))
        found = padded_run(run, [row])[0]
        vectors = [each(each.pack([row])).detach().numpy()[0] for each in (other, encoder)]
        off[size] = [float(np.linalg.norm(found - each) / np.linalg.norm(each)) for each in vectors]
    assert off[NARROW][0] < 1e-5 and off[NARROW][1] > 1e-4, "weights alone are rounded"
    assert off[WIDE][1] < 0.1
    with open("/proc/cpuinfo", encoding="utf-8") as file_of_flags:
        if "avx512_vnni" in file_of_flags.read():
            assert off[WIDE][0] > 1e-4, "inputs are rounded too"


def test_an_int8_encoder_gets_a_graph(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base", hidden_size=64, intermediate_size=128, tokenizer={"add_bos": True})
    bw.convert(base, dtype="float32", device="cpu").save(tmp_path / "encoder")
    encoder = bw.load(tmp_path / "encoder", graph="openvino", quantize="int8")
    plain = bw.load(tmp_path / "encoder", graph=None, dtype="float32", device="cpu")
    account = encoder.graph.account
    assert account.ok and account.shares.get("float32", 0) < 0.5, str(account)
    for text in TEXTS:
        found, wanted = encoder.encode(text), plain.encode(text)
        assert found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted) > 0.98
    assert encoder.graph(encoder, encoder.tokenize(TEXTS[:1])) is not None


def test_one_file_serves_encoders_of_one_shape(tmp_path: Path, cache: Path) -> None:
    for seed in (0, 1):
        base = tiny_llama(tmp_path / f"base{seed}", seed=seed, tokenizer={"add_bos": True})
        bw.convert(base, dtype="float32", device="cpu").save(tmp_path / f"encoder{seed}")
    vectors = []
    for seed in (0, 1):
        encoder, plain = (bw.load(tmp_path / f"encoder{seed}", graph=graph, dtype="float32") for graph in ("openvino", None))
        assert encoder.graph is not None and near(encoder.encode(TEXTS), plain.encode(TEXTS))
        vectors.append(encoder.encode(TEXTS))
    assert not near(*vectors)
    assert len([each for each in (cache / "graphs").iterdir() if each.is_dir()]) == 1


def test_threads_do_not_share_a_request(tmp_path: Path) -> None:
    bw.convert(tiny_llama(tmp_path / "base"), dtype="float32", device="cpu").save(tmp_path / "encoder")
    encoder = bw.load(tmp_path / "encoder", graph="openvino")
    wanted = [encoder.encode(text) for text in TEXTS]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(40):
            if not near(encoder.encode(TEXTS[index]), wanted[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(TEXTS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
