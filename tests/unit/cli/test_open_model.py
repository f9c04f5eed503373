"""What the command line evaluates: any sentence-transformers folder, and never half of a list of
tasks.
"""

from __future__ import annotations

import json
import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import bothways as bw
from bothways.evaluation.evaluate import evaluate
from tiny import SENTENCES, tiny_llama, tiny_tokenizer
from unit.cli.cli_runner import Run, runner

DEVICE = ("--device", "cpu", "--dtype", "float32")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    rows = [{"sentence1": a, "sentence2": b, "score": n} for n, (a, b) in enumerate(pairwise(SENTENCES))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "base", tokenizer={"add_bos": True})


@pytest.fixture(scope="module")
def static(tmp_path_factory) -> Path:
    """One vector for each token and no transformer at all: a folder that only sentence-transformers
    can run.
    """
    from sentence_transformers import SentenceTransformer, models

    folder = tmp_path_factory.mktemp("models") / "static"
    layer = models.StaticEmbedding(tiny_tokenizer().backend_tokenizer, embedding_dim=16)
    SentenceTransformer(modules=[layer], device="cpu").save(str(folder))
    return folder


@pytest.fixture
def run(capsys) -> Run:
    return runner(capsys)


def test_a_folder_of_other_modules_is_run_by_sentence_transformers(
    run: Run, static: Path, pairs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from sentence_transformers import SentenceTransformer

    with pytest.raises(bw.InputError, match="StaticEmbedding cannot be read"):
        bw.load(static)  # else this test would not say anything
    caplog.set_level(logging.INFO, "bothways")
    done = run("evaluate", static, "--task", f"sts:{pairs}", "--out", tmp_path / "r.json", *DEVICE)
    assert done.code == 0, done.err
    assert "run by sentence-transformers" in caplog.text and "StaticEmbedding" in caplog.text
    saved = json.loads((tmp_path / "r.json").read_text())
    expected = evaluate(SentenceTransformer(str(static), device="cpu"), f"sts:{pairs}")[f"sts:{pairs}"]
    assert saved["tasks"][f"sts:{pairs}"]["metrics"] == pytest.approx(expected, abs=1e-9)
    assert saved["provenance"]["model"]["class"] == "SentenceTransformer"
    assert saved["provenance"]["model"]["name"] == str(static)


def test_a_damaged_folder_is_not_handed_on(run: Run, static: Path, pairs: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "modules.json").write_text((static / "modules.json").read_text())
    done = run("evaluate", broken, "--task", f"sts:{pairs}", *DEVICE)
    assert done.code == 2 and done.err.startswith(f"error: {broken / 'modules.json'}: modules StaticEmbedding cannot be read")
    assert run("evaluate", static, "--pooling", "last", "--task", f"sts:{pairs}", *DEVICE).err.startswith(
        "error: --pooling last"
    )


@pytest.mark.parametrize("options", [(), ("--pooling", "last")])
def test_a_language_task_beside_others_is_refused_before_they_run(
    run: Run, base: Path, pairs: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / "x.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    tasks = ("--task", f"sts:{pairs}", "--task", f"perplexity:{tmp_path / 'x.txt'}?length=8")
    done = run("evaluate", base, *tasks, *options, "--out", tmp_path / "r.json", *DEVICE)
    assert done.code == 2 and "measures a language model" in done.err and "--direction causal" in done.err
    assert not (tmp_path / "r.json").exists() and done.err.count("\n") == 1
    both = run("evaluate", base, *tasks, *options, "--direction", "causal", "--out", tmp_path / "r.json", *DEVICE)
    assert both.code == 0, both.err
    found = json.loads((tmp_path / "r.json").read_text())["tasks"]
    assert len(found) == 2 and np.isfinite(found[tasks[3]]["metrics"]["perplexity"])


def test_a_language_task_of_a_finished_encoder_is_refused_before_others_run(
    run: Run, base: Path, pairs: Path, tmp_path: Path
) -> None:
    bw.convert(base, dtype="float32", device="cpu").save(tmp_path / "encoder")
    done = run(
        "evaluate", tmp_path / "encoder", "--task", f"sts:{pairs}", "--task", "topics", "--out", tmp_path / "r.json", *DEVICE
    )
    assert done.code == 2 and "task 'topics': measures a language model" in done.err
    assert not (tmp_path / "r.json").exists()


def test_vectors_are_compared_as_asked(run: Run, base: Path, static: Path, pairs: Path, tmp_path: Path) -> None:
    def spearman(model: object, task: str, *options: object) -> float:
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        done = run("evaluate", model, "--task", f"sts:{pairs}?{task}name=pairs", "--out", out, *options, *DEVICE)
        assert done.code == 0, done.err
        found = json.loads(out.read_text())["tasks"]["pairs"]
        kind = task.partition("=")[2].strip("&") or (options[1] if options else "cosine")
        assert found["details"]["similarity"] == kind
        return found["metrics"]["spearman"]

    for model in (base, static):
        plain, dot, asked = (
            spearman(model, *given)
            for given in (("",), ("", "--similarity", "dot"), ("similarity=dot&", "--similarity", "euclidean"))
        )
        assert dot == asked != plain
    task = ("--task", f"sts:{pairs}")
    assert "error: similarity: 'dott' is unknown" in run("evaluate", base, *task, "--similarity", "dott", *DEVICE).err
    assert "error: --similarity dot: only for an encoder, and BM25" in run("evaluate", "bm25", *task, "--similarity", "dot").err


def test_texts_are_cut_as_asked(run: Run, base: Path, static: Path, pairs: Path, tmp_path: Path) -> None:
    def score(*options: object) -> dict:
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        done = run("evaluate", base, "--task", f"sts:{pairs}?name=pairs", "--out", out, *options, *DEVICE)
        assert done.code == 0, done.err
        return json.loads(out.read_text())

    encoder = bw.convert(base, device="cpu", dtype="float32")
    encoder.options.max_length = 3
    expected = evaluate(encoder, [f"sts:{pairs}?name=pairs"]).main["pairs"]
    short, whole = score("--max-length", 3), score()
    assert short["tasks"]["pairs"]["metrics"]["spearman"] == pytest.approx(expected, abs=1e-6)
    assert short["tasks"]["pairs"]["metrics"] != whole["tasks"]["pairs"]["metrics"]

    for model, named in (("bm25", "BM25"), (static, "SentenceTransformer")):
        done = run("evaluate", model, "--task", f"sts:{pairs}", "--max-length", 3)
        assert done.code == 2 and f"error: --max-length 3: only for an encoder with a limit, and {named}" in done.err
