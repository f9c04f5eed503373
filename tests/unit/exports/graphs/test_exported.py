"""The loader of exported graphs, with torch in place of the runtimes: what it does around a graph
is the same for all of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import bothways as bw
from bothways.cli.app import app
from bothways.errors import BothwaysError, InputError, SourceError
from export_models import small_model
from tiny import tiny_llama

TEXTS = ["a cat", "The river runs from the old mountain to the sea in 1984 or 2024.", "x", "오늘은 날씨가 좋아서", ""]


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
