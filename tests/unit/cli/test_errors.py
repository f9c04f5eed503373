"""What a mistake looks like: one line on stderr, exit code 2, nothing on stdout, nothing written;
Ctrl-C is 130.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bothways import recipes
from bothways.encoder import convert as build
from tiny import SENTENCES, tiny_llama
from unit.cli.cli_runner import Run, runner

COMMAND = [sys.executable, "-c", "from bothways.cli import main; main()"]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture
def run(capsys) -> Run:
    return runner(capsys)


@pytest.fixture
def here(tmp_path: Path, monkeypatch, base: Path) -> Path:
    """A folder with one mistake of each kind, and the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").symlink_to(base)
    (tmp_path / "texts.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    (tmp_path / "cut.jsonl").write_text('{"text": "one"}\n{"text": "tw')
    (tmp_path / "columns.csv").write_text("a,b\n1,2\n")
    (tmp_path / "nan.jsonl").write_text('{"sentence1": "a", "sentence2": "b", "score": NaN}\n')
    (tmp_path / "unknown.yaml").write_text(recipes.llm2vec(base="base").to_yaml().replace("\nseed:", "\nsede:"))
    (tmp_path / "unknown.json").write_text(json.dumps({"model_name_or_path": "b", "mlm_probability": 0.2, "lora_rank": 8}))
    (tmp_path / "config-only").mkdir()
    (tmp_path / "config-only" / "config.json").write_bytes((base / "config.json").read_bytes())
    return tmp_path


TRAIN = ["train", "llm2vec", "--base", "base", "--data", "texts.txt"]
MISTAKES: list[tuple[list[str], str]] = [
    (["nonsense"], "error: No such command 'nonsense'. (see: bothways --help)"),
    (["convert"], "error: Missing argument 'base'. (see: bothways convert --help)"),
    (["convert", "base"], "error: Missing option '--out'. (see: bothways convert --help)"),
    (["convert", "base", "--out", "o", "--poling", "mean"], "error: No such option: --poling (Possible options: --pooling)"),
    (["convert", "base", "--out", "o", "--max-length", "many"], "error: Invalid value for '--max-length'"),
    (["convert", "base", "--out", "o", "--max-length", "0"], "error: max_length: must be at least 1 token (got 0)"),
    (
        ["convert", "base", "--out", "o", "--direction", "both"],
        "error: direction: must be 'bidirectional' or 'causal' (got 'both')",
    ),
    (
        ["convert", "base", "--out", "o", "--pooling", "median"],
        "error: pooling: unknown mode 'median'; did you mean 'mean'? one of mean,",
    ),
    (["convert", "base", "--out", "o", "--dtype", "int4"], "error: dtype 'int4' cannot be used"),
    (["convert", "base", "--out", "texts.txt"], "error: texts.txt: already exists and is not empty"),
    (["convert", "base", "--out", "texts.txt/deeper"], "error: texts.txt/deeper: cannot be written (texts.txt: File exists)"),
    (["convert", "config-only", "--out", "o"], "error: config-only: has no tokenizer (tokenizer.json)"),
    (["convert", "smollm2-136m", "--out", "o"], "error: smollm2-136m: unknown name; did you mean 'smollm2-135m'?"),
    (["doctor", "no-such/model"], "error: no-such/model: the model hub cannot be reached"),
    (["doctor", "base", "--device", "cuda:7"], "error: device 'cuda:7' is not there"),
    (["encode", "base", "missing.txt", "--out", "v.npy"], "error: missing.txt: no such file or folder"),
    (["encode", "base", "texts.txt", "--out", "v.csv"], "error: --out v.csv: must end in .npy or .parquet"),
    (["encode", "base", "cut.jsonl", "--out", "v.npy"], "error: cut.jsonl, row 2: "),
    (["encode", "base", "columns.csv", "--out", "v.npy"], "error: columns.csv, row 2: no column for text"),
    (["encode", "base", "texts.txt", "--column", "body", "--out", "v.npy"], "error: texts.txt, row 1: no column 'body'"),
    (
        ["encode", "base", "texts.txt", "--truncate-dim", "99", "--out", "v.npy"],
        "error: truncate_dim: must lie between 1 and 32",
    ),
    (["encode", "base", "texts.txt", "--prompt-name", "q", "--out", "v.npy"], "error: prompt_name: 'q' is not stored"),
    (["evaluate", "base", "--task", "sst:x"], "error: unknown task 'sst:x'; did you mean 'sts'?"),
    (["evaluate", "base", "--task", "sts:nan.jsonl"], "error: nan.jsonl, row 1: "),
    (["evaluate", "base", "--task", "sts:missing.jsonl"], "error: missing.jsonl: "),
    (["search", "base", "missing.txt", "query"], "error: missing.txt: no such file or folder"),
    (["search", "base", "texts.txt", "query", "--top", "0"], "error: Invalid value for '--top'"),
    (["recipes", "lm2vec"], "error: recipe 'lm2vec' does not exist; did you mean 'llm2vec'?"),
    (
        ["train", "lm2vec", "--out", "o"],
        "error: lm2vec: is neither a recipe nor a file; did you mean 'llm2vec'? recipes: llm2vec, simcse, nv_embed, llara, longlora",
    ),
    (["train", "missing.yaml", "--out", "o"], "error: missing.yaml: "),
    (["train", "unknown.yaml", "--out", "o"], "error: unknown.yaml: unknown key 'sede'; did you mean 'seed'?"),
    (["train", "unknown.json", "--out", "o"], "error: unknown.json: "),
    (["train", "unknown.yaml", "--dev", "sts:x", "--out", "o"], "error: --dev: only for a recipe by name"),
    ([*TRAIN, "--set", "stages.mntp.optim.lrr=1"], "error: "),
    ([*TRAIN, "--set", "nonsense"], "error: --set nonsense: expected path=value"),
    ([*TRAIN, "--preset", "huge"], "error: "),
    ([*TRAIN], "error: --out: name the folder for the trained encoder"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_is_one_line_and_exit_code_2(run: Run, here: Path, caplog, words: list[str], message: str) -> None:
    before = sorted(here.rglob("*"))
    done = run(*words)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith(message)
    assert done.err.count("\n") == 1
    assert sorted(here.rglob("*")) == before


def test_no_words_at_all_print_the_help(run: Run) -> None:
    done = run()
    assert "Usage: bothways" in done.out + done.err
    assert "Traceback" not in done.err
    assert done.code == 2


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (PermissionError(13, "Permission denied", "some/file"), 2, "error: some/file: Permission denied"),
        (OSError(28, "No space left on device"), 2, "error: No space left on device"),
    ],
)
def test_what_the_system_stops_is_one_line_too(run: Run, here: Path, monkeypatch, error: Any, code: int, line: str) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(build, "load_pretrained", fail)
    assert run("convert", "base", "--out", "o") == (code, "", line + "\n")


def test_interrupted_training_is_130(run: Run, here: Path, monkeypatch) -> None:
    from bothways.training.loop import trainer
    from bothways.training.loop.signals import Interrupted

    def stop(*args: Any, **kwargs: Any) -> None:
        raise Interrupted("o: stopped by SIGINT after step 3; continue with --resume")

    monkeypatch.setattr(trainer, "train", stop)
    done = run(*TRAIN, "--out", "o")
    assert done == (130, "", "error: o: stopped by SIGINT after step 3; continue with --resume\n")


def test_a_bug_is_not_dressed_up_as_bad_input(run: Run, here: Path, monkeypatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(build, "load_pretrained", fail)
    with pytest.raises(ZeroDivisionError):
        run("convert", "base", "--out", "o")


def test_ctrl_c_in_a_real_process_leaves_nothing(here: Path) -> None:
    (here / "many.txt").write_text("\n".join(f"{text} {number}" for number in range(40_000) for text in SENTENCES))
    words = ["encode", "base", "many.txt", "--out", "v.npy", "--device", "cpu"]
    before = sorted(os.listdir(here))
    process = subprocess.Popen(
        [*COMMAND, *words],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell that runs this suite in the background hands down an ignored SIGINT, which Python
        # would keep ignoring
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 120
        while not list(here.glob(".v.npy.*.part")):  # it is at work now
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err
    assert sorted(os.listdir(here)) == before


def test_a_real_process_with_a_reader_that_went_away(here: Path) -> None:
    process = subprocess.Popen([*COMMAND, "recipes", "llm2vec"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 0
