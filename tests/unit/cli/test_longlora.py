"""LongLoRA on the command line: train, evaluate what is left, merge the adapter again, and go on to
an encoder.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

import bothways as bw
from tiny import SENTENCES, tiny_llama
from unit.cli.cli_runner import Run, runner

SMALL = ["batch.accumulation=2", "optim.steps=2", "optim.lr=0.01"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    tiny_llama(folder / "base", max_position_embeddings=32, tie_word_embeddings=True)
    (folder / "texts.txt").write_text("\n".join(SENTENCES * 8), encoding="utf-8")
    return folder


@pytest.fixture
def trained(folder: Path, run: Run) -> Path:
    """The folder with what `train` has left in out/."""
    if not (folder / "out").exists():
        sets = [word for value in SMALL for word in ("--set", f"stages.longlora.{value}")]
        where = ("--base", folder / "base", "--data", folder / "texts.txt", "--out", folder / "out")
        done = run("train", "longlora", *where, "--option", "context=64", *sets)
        assert done.code == 0, done.err
        assert "language model, 64 tokens of context" in done.out
    return folder


def test_what_is_left_is_evaluated_as_a_language_model(trained: Path, run: Run) -> None:
    results = trained / "results.json"
    done = run(
        "evaluate", trained / "out", "--task", f"perplexity:{trained / 'texts.txt'}?length=64&windows=2", "--out", results
    )
    assert done.code == 0, done.err
    assert "perplexity" in done.out
    assert json.loads(results.read_text())


def test_its_adapter_is_merged_like_any_other(trained: Path, run: Run, tmp_path: Path) -> None:
    options = ("--adapter", trained / "out" / "adapters" / "1-longlora", "--context", 64)
    done = run("convert", trained / "base", *options, "--direction", "causal", "--out", tmp_path / "encoder")
    assert done.code == 0, done.err
    merged, expected = (load_file(folder / "model.safetensors") for folder in (tmp_path / "encoder", trained / "out"))
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor, expected[f"model.{name}"], atol=1e-6, rtol=1e-6, msg=name)


def test_it_is_a_base_for_an_encoder(trained: Path, run: Run, tmp_path: Path) -> None:
    done = run("convert", trained / "out", "--max-length", 64, "--out", tmp_path / "encoder")
    assert done.code == 0, done.err
    config = json.loads((tmp_path / "encoder" / "config.json").read_text())
    assert (config["is_causal"], config["max_position_embeddings"]) == (False, 64)
    assert config["rope_parameters"]["factor"] == 2.0


def test_an_encoder_of_a_longer_context_reads_texts_of_that_length(folder: Path, run: Run, tmp_path: Path) -> None:
    for name, options, expected in (("long", (), 1024), ("cut", ("--max-length", 100), 100)):
        done = run("convert", folder / "base", "--context", 1024, *options, "--out", tmp_path / name)
        assert done.code == 0, done.err
        assert json.loads((tmp_path / name / "sentence_bert_config.json").read_text())["max_seq_length"] == expected


def test_long_documents_then_labelled_rows_in_one_run(folder: Path, run: Run, tmp_path: Path) -> None:
    """LongLoRA reads a book, NV-Embed's stages long rows; the encoder reads texts of the whole
    context.
    """
    rows = [{"query": text, "positive": " ".join(SENTENCES), "negative": SENTENCES[0]} for text in SENTENCES]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "book.txt").write_text("\n".join(SENTENCES * 8), encoding="utf-8")
    values = [f"stages.{name}.{value}" for name in ("retrieval", "blended") for value in ("optim.steps=1", "batch.size=2")]
    values += [f"stages.longlora.{value}" for value in SMALL]
    sets = [word for value in values for word in ("--set", value)]
    options = ["context=64", "then=nv_embed", "text_length=60", f"documents={tmp_path / 'book.txt'}"]
    where = ("--base", folder / "base", "--preset", "laptop", "--data", tmp_path / "rows.jsonl", "--out", tmp_path / "out")
    done = run("train", "longlora", *where, *(word for option in options for word in ("--option", option)), *sets)
    assert done.code == 0, done.err
    stages = json.loads((tmp_path / "out" / "bothways.json").read_text())["stages"]
    assert [stage["name"] for stage in stages] == ["longlora", "retrieval", "blended"]
    # one document, in rows of 64 tokens
    assert [(source["documents"], source["source"]) for source in stages[0]["data"]] == [(1, str(tmp_path / "book.txt"))]
    assert stages[0]["tokens"] % 64 == 0
    assert json.loads((tmp_path / "out" / "sentence_bert_config.json").read_text())["max_seq_length"] == 64


def test_the_adapter_knows_its_positions(trained: Path, run: Run, tmp_path: Path) -> None:
    kept = trained / "out" / "adapters" / "1-longlora"
    done = run("convert", trained / "base", "--adapter", kept, "--out", tmp_path / "encoder")
    assert done.code == 0, done.err
    config = json.loads((tmp_path / "encoder" / "config.json").read_text())
    assert (config["max_position_embeddings"], config["rope_parameters"]["factor"]) == (64, 2.0)
    assert json.loads((tmp_path / "encoder" / "sentence_bert_config.json").read_text())["max_seq_length"] == 64


def test_a_context_takes_the_interpolation_of_the_adapter(
    folder: Path, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sets = [word for value in ("optim.steps=1", "optim.warmup_steps=0") for word in ("--set", f"stages.longlora.{value}")]
    where = ("--base", folder / "base", "--preset", "laptop", "--data", folder / "texts.txt", "--out", tmp_path / "out")
    done = run("train", "longlora", *where, "--option", "context=64", *sets)
    assert done.code == 0, done.err
    kept = tmp_path / "out" / "adapters" / "1-longlora"
    # fewer tokens at the positions of its training; more at positions stretched further, which is
    # said
    for context, factor, positions in ((64, 2.0, 64), (32, 2.0, 64), (128, 4.0, 128)):
        out = tmp_path / f"context-{context}"
        done = run("convert", folder / "base", "--adapter", kept, "--context", context, "--out", out)
        assert done.code == 0, done.err
        assert ("differ from positions stretched to 128" in caplog.text) == (context > 64)
        config = json.loads((out / "config.json").read_text())
        rope = config["rope_parameters"]
        assert (rope["rope_type"], rope["factor"], config["max_position_embeddings"]) == ("yarn", factor, positions)
        assert json.loads((out / "sentence_bert_config.json").read_text())["max_seq_length"] == context
        encoder = bw.convert(folder / "base", adapter=kept, rope={"context": context})
        assert encoder.backbone.config.rope_parameters == AutoConfig.from_pretrained(out).rope_parameters
    asked = ("--adapter", kept, "--context", 64, "--rope", "linear")
    done = run("convert", folder / "base", *asked, "--out", tmp_path / "other")
    assert done.code == 2
    assert f"rope.type: {kept} was trained with yarn positions, not linear; set yarn" in done.err
    # going on with another preset, whose positions are others
    where = ("--base", folder / "base", "--data", folder / "texts.txt", "--out", tmp_path / "more")
    chosen = ("--option", "context=64", "--set", f"base_adapter={kept}")
    done = run("train", "longlora", *where, *chosen)
    assert done.code == 2
    assert "was trained with yarn positions, not linear" in done.err


def test_positions_that_were_stretched_before_go_on_with_a_factor(trained: Path, run: Run, tmp_path: Path) -> None:
    for options, message in (
        (("--context", 256), "is already interpolated (linear, factor 2.0); give rope.factor"),
        (
            ("--context", 256, "--factor", 8, "--rope", "yarn"),
            "was trained with linear positions, not yarn; set rope.type linear",
        ),
        (("--adapter", trained / "out" / "adapters" / "1-longlora"), "is already merged in"),
        (("--context", 256, "--factor", 4), "stretches the 32 tokens"),
        (("--context", 48, "--factor", 4), "already reads 64 tokens"),
        (("--rope", "yarn"), "--rope: needs --context"),
        (("--factor", 2), "--factor: needs --context"),
        (("--context", 256, "--rope", "dynamic", "--factor", 8), "was trained with linear positions, not dynamic"),
    ):
        done = run("convert", trained / "out", *options, "--out", tmp_path / "encoder")
        assert done.code == 2 and message in done.err, done.err
    done = run("convert", trained / "out", "--context", 256, "--factor", 8, "--out", tmp_path / "encoder")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "encoder" / "config.json").read_text())["rope_parameters"]["factor"] == 8.0


def test_wrong_positions_are_one_line(folder: Path, run: Run, tmp_path: Path) -> None:
    done = run("convert", folder / "base", "--context", 64, "--rope", "ntk", "--out", tmp_path / "encoder")
    assert done.code == 2
    assert "rope: type:" in done.err
    assert not (tmp_path / "encoder").exists()


def test_yarn_goes_on_as_yarn(folder: Path, run: Run, tmp_path: Path) -> None:
    """Nobody says so, and linear positions would be none that the weights know."""
    encoder = bw.convert(
        folder / "base", direction="causal", rope={"type": "yarn", "context": 64}, dtype="float32", device="cpu"
    )
    base = tmp_path / "yarn"
    shutil.copytree(folder / "base", base)
    config = json.loads((base / "config.json").read_text())
    changed = {"rope_parameters": encoder.backbone.config.rope_parameters, "max_position_embeddings": 64}
    (base / "config.json").write_text(json.dumps({**config, **changed}))
    done = run("convert", base, "--context", 128, "--factor", 4, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    found = AutoConfig.from_pretrained(tmp_path / "out").rope_parameters
    assert (found["rope_type"], found["factor"]) == ("yarn", 4.0)
    task = f"perplexity:{folder / 'texts.txt'}?length=128&windows=1"
    done = run("evaluate", base, "--task", task, "--context", 128, "--factor", 4, "--out", tmp_path / "r.json")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "r.json").read_text())["tasks"][task]["details"]["rope"]["rope_type"] == "yarn"


def test_an_adapter_says_nothing_of_positions_that_were_not_changed(folder: Path, run: Run, tmp_path: Path) -> None:
    where = ("--base", folder / "base", "--preset", "laptop", "--data", folder / "texts.txt", "--out", tmp_path / "out")
    sets = ("--set", "stages.longlora.optim.steps=1")
    done = run("train", "longlora", *where, "--option", "context=32", *sets)
    assert done.code == 0, done.err
    kept = tmp_path / "out" / "adapters" / "1-longlora"
    assert json.loads((kept / "bothways.json").read_text())["rope"] is None
    done = run(
        "convert", folder / "base", "--adapter", kept, "--context", 64, "--rope", "linear", "--out", tmp_path / "encoder"
    )
    assert done.code == 0, done.err
    assert "reads 64 tokens of a text" in done.out
    done = run("convert", folder / "base", "--adapter", kept, "--max-length", 16, "--out", tmp_path / "short")
    assert "reads 16 of 32 tokens of a text" in done.out


@pytest.mark.parametrize("change", ["rope=null", "stages.longlora.objective.context=128"])
def test_rows_longer_than_the_positions_are_refused(folder: Path, run: Run, tmp_path: Path, change: str) -> None:
    where = ("--base", folder / "base", "--preset", "laptop", "--data", folder / "texts.txt", "--out", tmp_path / "out")
    done = run("train", "longlora", *where, "--option", "context=64", "--set", change)
    assert done.code == 2
    assert "tokens (objective.context), but the model has" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["yarn", "dynamic"])
def test_the_length_of_an_encoder_is_that_of_its_positions(folder: Path, kind: str) -> None:
    for rope, length in ((None, 32), ({"type": kind, "context": 64}, 64 if kind == "yarn" else 32)):
        assert bw.convert(folder / "base", direction="causal", rope=rope, dtype="float32", device="cpu").max_length == length
