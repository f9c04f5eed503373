"""The loader of exported graphs, with torch in place of the runtimes: what it does around a graph
is the same for all of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import bothways as bw
from bothways.cli.app import app
from bothways.errors import BothwaysError, InputError, SourceError
from bothways.exports.graphs import onnx_graph
from bothways.exports.graphs.padded_encoder import PaddedEncoder, plain_attention
from export_models import small_model
from tiny import tiny_llama

TEXTS = ["a cat", "The river runs from the old mountain to the sea in 1984 or 2024.", "x", "오늘은 날씨가 좋아서", ""]


@pytest.fixture
def torch_runtime(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Run graphs by torch. The list's number is added to every vector, as a broken runtime
    would.
    """
    off = [0.0]
    graphs: dict[str, PaddedEncoder] = {}

    def write(module: PaddedEncoder, folder: Path, name: str) -> None:
        (folder / onnx_graph.GRAPH).write_text(str(len(graphs)))
        graphs[str(len(graphs))] = module

    def open_run(file: Path, threads: int | None) -> Any:
        module = graphs[file.read_text()]

        def run(*arrays: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return module(*map(torch.from_numpy, arrays))[-1].numpy() + off[0]

        return run

    monkeypatch.setattr(onnx_graph, "needs", lambda: None)
    monkeypatch.setattr(onnx_graph, "write", write)
    monkeypatch.setattr(onnx_graph, "open_run", open_run)
    return off


def _encoder(folder: Path, **options: Any) -> bw.Encoder:
    return bw.convert(tiny_llama(folder, tokenizer={"add_bos": True}), dtype="float32", device="cpu", **options)


def _near(a: Any, b: Any) -> bool:
    return bool(np.abs(np.asarray(a) - np.asarray(b)).max() < 1e-5)


def test_it_encodes_as_the_encoder_does(tmp_path: Path, torch_runtime: list[float]) -> None:
    encoder = _encoder(
        tmp_path / "base",
        pool_bos=False,
        normalize=True,
        max_length=60,
        prompts={"query": "Find a text about this:\n", "document": "Text: "},
        wrapper=("[INST] ", " [/INST]", " "),
    )
    loaded = bw.load(bw.export(encoder, tmp_path / "out", to="onnx"), device="cpu", dtype="float32")
    for options in (
        {},
        {"prompt_name": "query"},
        {"prompt": "Other: ", "batch_size": 2},
        {"truncate_dim": 8},
        {"truncate_dim": 8, "normalize_embeddings": False},
        {"normalize_embeddings": False},
        {"precision": "ubinary"},
    ):
        assert _near(encoder.encode(TEXTS, **options), loaded.encode(TEXTS, **options)), options
    assert _near(encoder.encode_query("a cat"), loaded.encode_query("a cat"))
    assert _near(encoder.encode_document(TEXTS), loaded.encode_document(TEXTS))
    assert _near(encoder.encode([("Pair: ", "a cat")]), loaded.encode([("Pair: ", "a cat")]))
    windows = list(loaded.encode_stream(iter(TEXTS), window=2))
    assert _near(np.concatenate([vectors for _, vectors in windows]), encoder.encode(TEXTS))
    assert (loaded.prompts, loaded.max_length, loaded.dimension) == (encoder.prompts, 60, encoder.dimension)
    with pytest.raises(InputError, match="nope"):
        loaded.encode(TEXTS, prompt_name="nope")


def test_texts_are_cut_at_a_table_of_positions(tmp_path: Path, torch_runtime: list[float]) -> None:
    base = small_model(tmp_path / "base", "gpt2", n_positions=24)
    encoder = bw.convert(base, dtype="float32", device="cpu", max_length=None)
    assert len(encoder.tokenize(TEXTS, max_length=10**9)[1].ids) == encoder.max_length == 24
    loaded = bw.load(bw.export(encoder, tmp_path / "out", to="onnx"))
    assert loaded.max_length == 24
    assert _near(encoder.encode(TEXTS), loaded.encode(TEXTS))


@pytest.mark.parametrize("windows", ["keep", "lift"])
@pytest.mark.parametrize("model_type", ["gemma3_text", "mistral", "gpt2", "bloom"])
def test_padding_on_either_side(tmp_path: Path, model_type: str, windows: str) -> None:
    base = small_model(
        tmp_path / "base", model_type, **({"sliding_window": 4} if model_type in ("gemma3_text", "mistral") else {})
    )
    encoder = bw.convert(base, dtype="float32", device="cpu", windows=windows)
    rows = encoder.tokenize(TEXTS[:4])
    length = max(len(row.ids) for row in rows)
    own = encoder.encode(TEXTS[:4], normalize_embeddings=False)
    with plain_attention(encoder), torch.no_grad():
        module = PaddedEncoder(encoder).eval()
        for left in (False, True):
            arrays = torch.zeros(3, len(rows), length, dtype=torch.long)
            for index, row in enumerate(rows):
                place = slice(length - len(row.ids), length) if left else slice(0, len(row.ids))
                arrays[0, index, place] = torch.tensor(row.ids)
                arrays[1, index, place] = 1
                arrays[2, index, place] = torch.tensor(row.pool).long()
            assert _near(module(*arrays)[-1], own)


def test_a_kept_window_matters(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base", "mistral", sliding_window=4)
    kept, lifted = (bw.convert(base, dtype="float32", device="cpu", windows=way).encode(TEXTS[1]) for way in ("keep", "lift"))
    assert not _near(kept, lifted)


def test_a_wrong_graph_is_not_written(tmp_path: Path, torch_runtime: list[float]) -> None:
    encoder = _encoder(tmp_path / "base")
    torch_runtime[0] = 1.0
    with pytest.raises(InputError, match=r"cosine .* at least 0\.9999"):
        bw.export(encoder, tmp_path / "out", to="onnx")
    assert not (tmp_path / "out").exists()
    torch_runtime[0] = 0.0
    out = bw.export(encoder, tmp_path / "out", to="onnx")
    assert CliRunner().invoke(app, ["verify-export", str(out)]).exit_code == 0
    torch_runtime[0] = 1.0
    found = CliRunner().invoke(app, ["verify-export", str(out)])
    assert found.exit_code == 1
    assert "FAIL  ONNX Runtime  korean, batch" in found.output


def test_verbs_that_only_encode(tmp_path: Path, torch_runtime: list[float]) -> None:
    encoder = _encoder(tmp_path / "base", prompts={"query": "Find: "})
    out = str(bw.export(encoder, tmp_path / "out", to="onnx"))
    source = tmp_path / "texts.txt"
    source.write_text("\n".join(TEXTS[:4]) + "\n", encoding="utf-8")
    vectors = tmp_path / "vectors.npy"
    done = CliRunner().invoke(app, ["encode", out, str(source), "--out", str(vectors)])
    assert done.exit_code == 0, done.output
    assert _near(np.load(vectors), encoder.encode(TEXTS[:4], normalize_embeddings=True))
    done = CliRunner().invoke(app, ["search", out, str(source), "a cat", "--top", "1"])
    assert done.exit_code == 0, done.output
    pairs = tmp_path / "sts.jsonl"
    lines = [
        {"sentence1": a, "sentence2": b, "score": s} for a, b, s in (("a cat", "x", 1), ("a cat", "a cat", 5), ("x", "y", 2))
    ]
    pairs.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    done = CliRunner().invoke(app, ["evaluate", out, "--task", f"sts:{pairs}"])
    assert done.exit_code == 0, done.output


def test_what_needs_weights_is_refused(tmp_path: Path, torch_runtime: list[float]) -> None:
    out = bw.export(_encoder(tmp_path / "base"), tmp_path / "out", to="onnx")
    loaded = bw.load(out)
    for name, use in {
        "doctor": lambda: bw.doctor(loaded),
        "save": lambda: loaded.save(tmp_path / "saved"),
        "encode_tokens": lambda: loaded.encode_tokens("a cat"),
        "encode_chunks": lambda: loaded.encode_chunks("a cat. a dog."),
        "export": lambda: bw.export(loaded, tmp_path / "again", to="onnx"),
        "cuda": lambda: bw.load(out, device="cuda"),
        "bfloat16": lambda: bw.load(out, dtype="bfloat16"),
        "adapter": lambda: bw.load(out, adapter="there"),
    }.items():
        with pytest.raises(InputError) as caught:
            use()
        assert "export" in str(caught.value), name
    assert not (tmp_path / "saved").exists()
    with pytest.raises(SourceError, match="is an export, which only encodes"):
        bw.convert(out)
    for verb in (["doctor", str(out)], ["convert", str(out), "--out", str(tmp_path / "converted")]):
        done = CliRunner().invoke(app, verb)
        assert isinstance(done.exception, BothwaysError) or done.exit_code == 2
        assert not (tmp_path / "converted").exists()


def test_types_and_quantize(tmp_path: Path) -> None:
    encoder = _encoder(tmp_path / "base")
    with pytest.raises(InputError, match="OpenVINO graphs are written as f32 or int8, not as 'f16'"):
        bw.export(encoder, tmp_path / "out", to="openvino", dtype="f16")
    with pytest.raises(InputError, match="known: int8, q8_0"):
        bw.export(encoder, tmp_path / "out", to="onnx", quantize="int3")
    with pytest.raises(InputError, match="give one of them"):
        bw.export(encoder, tmp_path / "out", to="onnx", quantize="int8", dtype="f32")
    assert not (tmp_path / "out").exists()
