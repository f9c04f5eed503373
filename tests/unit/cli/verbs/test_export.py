"""`bothways export` and `bothways verify-export`: exit codes, and what is refused in one line with
nothing written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import bothways as bw
from bothways.exports.folders import folder_loaders, folder_verify
from export_models import small_model
from tiny import tiny_llama
from unit.cli.cli_runner import Run, runner


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line, with loaders in this process: a process of their own imports torch again."""

    def here(python: str, folder: Path, loader: str, rows: list[dict], *, trust: bool = False) -> dict[str, Any]:
        found = [folder_loaders.LOADERS[loader](str(folder), rows, size, trust) for size in (1, len(rows))]
        return {"versions": {loader: "here"}, "vectors": found}

    monkeypatch.setattr(folder_verify, "run", here)
    return runner(capsys)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoders of a small Llama, and one of a family that servers run causally."""
    place = tmp_path_factory.mktemp("models")
    base = tiny_llama(place / "base")
    for name, options in {"good": {}, "causal": {"direction": "causal"}, "max": {"pooling": "max"}}.items():
        bw.convert(base, dtype="float32", device="cpu", **options).save(place / name)
    small_model(place / "gpt2", "gpt2")
    (place / "empty").mkdir()
    (place / "notes.txt").write_text("a text\n")
    return place


def test_below_the_bar_the_exit_code_is_1(run: Run, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = run("export", models / "good", "--to", "sentence-transformers", "--out", out)
    assert written.code == 0 and written.out.splitlines()[-1] == f"next: bothways verify-export {out}"
    good = run("verify-export", out)
    assert good.code == 0 and "FAIL" not in good.out
    assert "lowest cosine 1.000000, at least 0.9999 is needed" in good.out
    for case in ("short", "long", "korean"):
        assert f"{case}, single" in good.out and f"{case}, batch" in good.out
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, "is_causal": True}))
    causal = run("verify-export", out)
    assert causal.code == 1 and "FAIL  sentence-transformers here  long, single" in causal.out


def test_a_broken_rule_is_exit_code_1(run: Run, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = run("export", models / "good", "--to", "vllm", "--out", out)
    (command,) = json.loads((out / "bothways-export.json").read_text())["commands"].values()
    assert f"vLLM 0.33.0: cd {out} && {command}" in written.out.splitlines() and command in (out / "README.md").read_text()
    done = run("verify-export", out)
    assert done.code == 0 and "ok    vLLM 0.33.0, by rule, not measured: architectures names LlamaModel" in done.out
    lengths = json.loads((out / "sentence_bert_config.json").read_text())
    (out / "sentence_bert_config.json").write_text(json.dumps({**lengths, "max_seq_length": 10**6}))
    done = run("verify-export", out)
    assert done.code == 1 and "FAIL  vLLM 0.33.0, by rule, not measured: max_seq_length is a number" in done.out


@pytest.mark.parametrize(
    ("model", "words", "said"),
    [
        ("causal", ("--to", "gguf"), "the encoder is causal"),
        ("causal", ("--to", "onnx"), "the encoder is causal"),
        ("causal", ("--to", "vllm"), "the encoder is causal"),
        ("max", ("--to", "gguf"), "max"),
        ("max", ("--to", "tei"), "does not have max pooling; it has mean, last, bos"),
        ("max", ("--to", "llm2vec"), "does not have max pooling"),
        ("gpt2", ("--to", "vllm"), "gpt2 is refused for vllm; vLLM 0.33.0 runs it causally"),
        ("good", ("--to", "gguf", "--quantize", "int4"), "'int4' is not a type of 8-bit weights"),
        ("good", ("--to", "gguf", "--dtype", "q4_1"), "q4_1"),
        ("good", ("--to", "gguf", "--dtype", "int8"), "int8"),
        ("good", ("--to", "onnx", "--quantize", "q8_0"), "not as 'q8_0'"),
        ("good", ("--to", "lama.cpp"), "'lama.cpp' is not a target"),
        ("good", ("--to", "vllm", "--adapters"), "leave --adapters out"),
        ("empty", ("--to", "gguf"), "empty"),
        ("notes.txt", ("--to", "gguf"), "notes.txt"),
        ("missing", ("--to", "gguf"), "missing"),
    ],
)
def test_one_line_and_nothing_written(run: Run, models: Path, tmp_path: Path, model: str, words: tuple, said: str) -> None:
    done = run("export", models / model, *words, "--out", tmp_path / "out")
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert done.code == 2 and len(lines) == 1 and said in lines[0], done.err
    assert "Traceback" not in done.err and list(tmp_path.iterdir()) == []


def test_llm2vec_is_verified_in_its_own_environment(run: Run, models: Path, tmp_path: Path) -> None:
    done = run("export", models / "good", "--to", "llm2vec", "--out", tmp_path / "out")
    assert done.out.splitlines()[-1] == f"next: bothways verify-export {tmp_path / 'out'} --with PYTHON"


def test_a_folder_that_is_in_use_is_kept(run: Run, models: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    done = run("export", models / "good", "--to", "vllm", "--out", tmp_path / "out")
    assert done.code == 2 and [file.name for file in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["empty", "good", "notes.txt", "missing"])
def test_verify_export_of_what_is_not_an_export(run: Run, models: Path, name: str) -> None:
    done = run("verify-export", models / name)
    assert done.code == 2 and len(done.err.splitlines()) == 1 and "bothways export MODEL --to" in done.err, done.err
