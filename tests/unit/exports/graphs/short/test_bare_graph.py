"""OpenVINO itself: graphs without weights of several families, and the weights that are put in."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bothways as bw
from bothways.exports.graphs.short import bare_graph
from bothways.exports.graphs.short.graph_proof import prove
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
