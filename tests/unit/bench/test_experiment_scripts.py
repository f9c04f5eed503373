"""Scripts of experiments at tiny size: rows × seeds that are trained once, measured on dev, and compared in pairs."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import bothways as bw
from bothways.data.conversion.converted import write_examples
from bothways.data.labeled.example import Example
from bothways.evaluation.registry import make_task
from tiny import SENTENCES, tiny_llama

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"
NAMES = (
    "results_page",
    "teacher",
    "seeds",
    "quality",
    "mntp",
    "supervised_data",
    "supervised_tables",
    "nv_embed_tables",
    "supervised",
    "precision",
    "longlora",
    "attention_pattern",
)


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    sys.path.insert(0, str(FOLDER))
    try:
        yield {name: importlib.import_module(name) for name in NAMES}
    finally:
        sys.path.remove(str(FOLDER))
        for name in NAMES:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base") / "llama")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Lines of text, and scored pairs."""
    texts, dev = tmp_path / "texts.txt", tmp_path / "dev.jsonl"
    texts.write_text("\n".join(f"{text} {number}" for number in range(20) for text in SENTENCES), encoding="utf-8")
    pairs = [
        {"sentence1": one, "sentence2": other[: 8 * place + 5], "score": place % 5}
        for place, (one, other) in enumerate(itertools.combinations(SENTENCES, 2))
    ]
    dev.write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    return texts, dev


# --- seeds ------------------------------------------------------------------------------


def test_a_difference_is_paired_by_seed(scripts: dict[str, ModuleType]) -> None:
    first, second = {0: 70.0, 1: 74.0, 2: 71.0, 3: 1.0}, {0: 69.0, 1: 72.5, 2: 70.2}
    found = scripts["seeds"].difference(first, second)
    values = np.array([1.0, 1.5, 0.8])
    assert math.isclose(found.mean, values.mean()) and found.seeds == 3
    assert math.isclose(found.error, values.std(ddof=1) / math.sqrt(3))
    assert found.claimed


@pytest.mark.parametrize(("second", "claimed"), [({0: 0.0, 1: 3.0}, False), ({0: 1.0}, False), ({0: 0.9, 1: 1.8}, True)])
def test_an_order_is_claimed_beyond_two_standard_errors(scripts: dict[str, ModuleType], second, claimed: bool) -> None:
    assert scripts["seeds"].difference({0: 2.0, 1: 3.0}, second).claimed is claimed


def test_figures_are_kept_for_the_same_question_only(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    kept, file = scripts["seeds"].kept, tmp_path / "a" / "row.json"
    assert kept(file, {"steps": 2}, lambda: {"x": 1})["x"] == 1
    assert kept(file, {"steps": 2}, lambda: {"x": 2})["x"] == 1
    assert kept(file, {"steps": 3}, lambda: {"x": 3})["x"] == 3


def test_a_page_names_its_command_without_the_places_of_a_machine(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    command = scripts["results_page"].command
    words = [
        "--out",
        "/tmp/a",
        "--task",
        "retrieval:/data/b/scifact?x=1",
        "/models/c",
        "--dev=/d/e.jsonl",
        "--results=/f",
        "--rows",
        "a, b",
    ]
    assert command("x.py", words) == "benchmarks/x.py --task 'retrieval:scifact?x=1' c --dev=e.jsonl --rows 'a, b'"
    page = scripts["results_page"].Page(tmp_path / "p.md", "Title", "About.", "benchmarks/x.py")
    page.write([["| a |", "|---|", "| 1 |"], []], {"row": {0: {}, 2: {}}})
    assert (
        (tmp_path / "p.md")
        .read_text()
        .startswith("# Title\n\nAbout.\n\n| a |\n|---|\n| 1 |\n\n`benchmarks/x.py`\n\nSeeds 0, 2. ")
    )


# --- mntp -------------------------------------------------------------------------------


def test_the_area_is_that_of_trapezoids(scripts: dict[str, ModuleType]) -> None:
    dev = {0: 20.0, 10: 50.0, 25: 60.0, 50: 70.0, 150: 75.0, 400: 90.0}
    steps, values = [0, 10, 25, 50, 150], [20.0, 50.0, 60.0, 70.0, 75.0]
    assert math.isclose(scripts["mntp"].area(dev), np.trapezoid(values, steps) / 150)


def test_the_stated_tokens_are_those_of_the_recipes(scripts: dict[str, ModuleType]) -> None:
    mntp = scripts["mntp"]
    assert mntp.MNTP["0.8M"].tokens == mntp.MNTP["40%"].tokens == 819_200
    assert abs(mntp.MNTP["3.3M"].tokens - 3.3e6) < 2e4
    # the opponent has the tokens of MNTP and of the SimCSE after it
    assert abs(mntp.LONGER * mntp.STEP_TOKENS - (819_200 + mntp.STEPS * mntp.STEP_TOKENS)) < mntp.STEP_TOKENS
    assert set(mntp.ORDER) == set(mntp.ROWS)


def test_mntp_trains_measures_and_reuses(
    scripts: dict[str, ModuleType], base: Path, files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    words = ["--base", str(base), "--texts", str(files[0]), "--dev", str(files[1]), "--steps", "1", "--out", str(out)]
    rows = ["none, 2e-4", "3.3M, 2e-4"]
    scripts["mntp"].main([*words, "--rows", *rows, "--test"])
    found = json.loads((out / "steps-1" / "dev.json").read_text())
    assert list(found) == rows
    assert found[rows[0]]["0"]["MNTP tokens"] == 0 < found[rows[1]]["0"]["MNTP tokens"]
    # the metric was read before the first step and after the last, and MNTP changed where SimCSE starts
    assert all({"dev 0", "last", "best", "area"} <= runs["0"].keys() for runs in found.values())
    assert len({runs["0"]["dev 0"] for runs in found.values()}) == 2
    recipe = (out / "steps-1" / "mntp-3.3M-seed0" / "recipe.yaml").read_text()
    assert "isolate_documents: true" in recipe and "row_length: 256" in recipe and "unit: auto" in recipe
    table = (out / "steps-1" / "dev.md").read_text()
    assert "3.3M, 2e-4 − none, 2e-4" in table and "(one seed)" in table
    assert list(json.loads((out / "steps-1" / "test.json").read_text())) == rows
    before = {file: file.stat().st_mtime_ns for file in out.rglob("model.safetensors")}
    capsys.readouterr()
    scripts["mntp"].main([*words, "--rows", *rows, "longer, 1e-3", "--tokens", "10"])
    assert "not started, beyond --tokens: longer, 1e-3, seed 0" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in out.rglob("model.safetensors")} == before
    assert json.loads((out / "steps-1" / "dev.json").read_text()) == found
    # a call for one row keeps the others in the table, and writes the page that it is asked for
    scripts["mntp"].main([*words, "--rows", rows[0], "--results", str(tmp_path / "pages")])
    assert json.loads((out / "steps-1" / "dev.json").read_text()) == found
    page = (tmp_path / "pages" / "mntp.md").read_text()
    assert "3.3M, 2e-4 − none, 2e-4" in page and "Machine: " in page and "Seed 0. " in page
    assert "`benchmarks/mntp.py --base llama --texts texts.txt " in page and str(tmp_path) not in page


# --- supervised -------------------------------------------------------------------------


@pytest.fixture
def small(
    scripts: dict[str, ModuleType], files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The material of `supervised.py` in small, and the words of its command."""
    data, tables = scripts["supervised_data"], scripts["nv_embed_tables"]
    rows = [
        Example(f"{text} {number}", (text,), (SENTENCES[(place + 1) % 8],))
        for number in range(4)
        for place, text in enumerate(SENTENCES)
    ]
    for name in ("stdlib-rest", "scifact-bm25", "nli", "banking77", "wikisplit"):
        write_examples(rows, tmp_path / "runs" / "data" / f"{name}.jsonl.gz")
    monkeypatch.setattr(data, "_stdlib", lambda: (rows, rows[:8]))
    monkeypatch.setattr(tables, "LINES", [str(files[0])])
    monkeypatch.setattr(tables, "DEV", files[1])
    monkeypatch.setattr(scripts["supervised"], "SHARED", tmp_path)
    # instructions alone have more than 64 tokens of this tokenizer
    change = tables.override_values
    longer = {"stages.*.objective.max_length": 256}
    monkeypatch.setattr(tables, "override_values", lambda recipe, changes: change(recipe, {**changes, **longer}))
    return ["--seeds", "0", "--steps", "1", "--out", str(tmp_path / "runs")]


def test_every_recipe_of_the_ladder_and_the_directions_is_whole(
    scripts: dict[str, ModuleType], small: list[str], base: Path, tmp_path: Path
) -> None:
    tables = scripts["nv_embed_tables"]
    run = scripts["supervised"].Run(tmp_path / "runs", str(base), "auto", None)
    recipes = {name: run.recipe(name, 0) for name in tables.TRAININGS}
    spent = {name: recipes[name].stages[0] for name in ("mntp", "causal-lm")}
    tokens = {name: stage.batch.size * stage.optim.steps * 128 for name, stage in spent.items()}
    assert set(tokens.values()) == {tables.ADAPTED_TOKENS}
    assert spent["mntp"].objective.row_length == spent["causal-lm"].objective.context == 128
    assert spent["mntp"].optim == spent["causal-lm"].optim and spent["mntp"].adapter == spent["causal-lm"].adapter
    single, both = recipes["larger-single"], recipes["larger-mean-bidirectional"]
    assert single.stages[0].objective.in_batch == both.stages[1].objective.in_batch == "unlabeled"
    assert recipes["larger-two-stages"].stages[1].objective.in_batch is False
    assert recipes["larger-latent-causal"].base_adapter.endswith("causal-lm-seed0/adapters/1-lm")
    assert recipes["ladder-3-causal"].add_bos and not recipes["ladder-2-causal"].add_bos


def test_the_ladder_trains_over_both_adapted_bases(
    scripts: dict[str, ModuleType], small: list[str], base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["adapted, bidirectional", "adapted, causal"]
    words = ["ladder", *small, "--base", str(base), "--rows", *rows]
    scripts["supervised"].main([*words, "--plan"])
    assert "adapted, causal, seed 0: causal-lm, ladder-4-causal" in capsys.readouterr().out
    scripts["supervised"].main(words)
    out = tmp_path / "runs" / "steps-1"
    found = json.loads((out / "ladder.json").read_text())
    assert set(found) == set(rows)
    columns = {"STS-B dev", "retrieval (stdlib dev nDCG@10)", "mean cosine", "tokens"}
    assert all(columns <= runs["0"].keys() for runs in found.values())
    for row, names in zip(rows, (("mntp", "ladder-4-bidirectional"), ("causal-lm", "ladder-4-causal"))):
        stages = [json.loads((out / f"{name}-seed0" / "bothways.json").read_text())["stages"] for name in names]
        own = [stage for each, count in zip(stages, (1, 2)) for stage in each[-count:]]
        assert found[row]["0"]["tokens"] == sum(stage["tokens"] for stage in own)
    provenance = json.loads((out / "ladder-4-bidirectional-seed0" / "bothways.json").read_text())
    assert provenance["base_adapter"].endswith("mntp-seed0/adapters/1-mntp")
    assert "adapted, bidirectional − adapted, causal" in (out / "ladder.md").read_text()
    before = {file: file.stat().st_mtime_ns for file in out.rglob("model.safetensors")}
    scripts["supervised"].main(words)
    assert {file: file.stat().st_mtime_ns for file in out.rglob("model.safetensors")} == before


def test_random_negatives_are_no_answers(scripts: dict[str, ModuleType]) -> None:
    rows = [Example(f"q{n}", (f"p{n}",), (f"p{n + 1}", "a", "b"), label=f"l{n % 3}") for n in range(30)]
    labels: dict[str, Any] = {row.positives[0]: row.label for row in rows}
    for row, wide in zip(rows, scripts["supervised_data"]._widened(rows)):
        assert wide.negatives[:2] == row.negatives[:2] and len(set(wide.negatives)) == 6
        assert all(labels[text] != row.label for text in wide.negatives[2:])


# --- precision --------------------------------------------------------------------------


def test_precision_encodes_once_and_prints_every_row(
    scripts: dict[str, ModuleType],
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = [{"query": f"{text[:30]} {number}", "document": f"{text} {number}"} for number in range(3) for text in SENTENCES]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    bw.convert(base, dtype="float32").save(tmp_path / "mine")
    calls: list[int] = []
    encode = scripts["precision"].encode_texts
    monkeypatch.setattr(
        scripts["precision"],
        "encode_texts",
        lambda encoder, texts, *a, **k: calls.append(len(texts)) or encode(encoder, texts, *a, **k),
    )
    task = f"retrieval:{tmp_path / 'pairs.jsonl'}"
    scripts["precision"].main([str(tmp_path / "mine"), "--task", task, "--rescore", "30", "--out", str(tmp_path / "out")])
    assert calls == [24, 24]
    found = json.loads((tmp_path / "out" / "mine.json").read_text())
    assert [row["bytes"] for row in found.values()] == [128, 32, 4, 4, 4]
    direct = bw.evaluate(bw.load(tmp_path / "mine"), [make_task(f"{task}?precision=binary&rescore=30&name=t")])["t"]["ndcg@10"]
    assert math.isclose(found["binary, best 30 K scored again"]["nDCG@10"], 100 * direct)
    # a second seed of the same model is in one row with the first, and nothing is encoded again
    shutil.copytree(tmp_path / "mine", tmp_path / "mine-seed1")
    words = [str(tmp_path / "mine"), str(tmp_path / "mine-seed1"), "--task", task, "--rescore", "30"]
    scripts["precision"].main([*words, "--out", str(tmp_path / "out"), "--results", str(tmp_path / "pages")])
    assert calls == [24, 24, 24, 24]
    page = (tmp_path / "pages" / "precision.md").read_text()
    assert "| mine | int8 | 0, 1 |" in page and "± 0.00" in page
    assert "| int8 |" in (tmp_path / "out" / "mine.md").read_text()


# --- attention_pattern ------------------------------------------------------------------


def test_patterns_are_trained_and_read_along_the_way(
    scripts: dict[str, ModuleType], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base has 512 positions, and its rows are stretched to 1,024 tokens."""
    monkeypatch.setattr(scripts["attention_pattern"], "WINDOWS", 2)
    text = tmp_path / "book.txt"
    text.write_text(" ".join(SENTENCES * 40), encoding="utf-8")
    words = ["--base", str(base), "--text", str(text), "--held-out", str(text), "--out", str(tmp_path / "out")]
    scripts["attention_pattern"].main([*words, "--rows", "heads", "full", "--steps", "2", "--every", "2"])
    found = json.loads((tmp_path / "out" / "table.json").read_text())
    assert list(found) == ["heads", "full"]
    assert all({"step 2", "tokens"} <= runs["0"].keys() for runs in found.values())
    # the same model before training, and other gradients
    assert found["heads"]["0"]["step 2"] != found["full"]["0"]["step 2"]
    # figures of other seeds and rows stay in the table
    scripts["attention_pattern"].main([*words, "--rows", "heads", "--steps", "2", "--every", "2"])
    assert json.loads((tmp_path / "out" / "table.json").read_text()) == found
    written = (tmp_path / "out" / "heads-2-seed0" / "recipe.yaml").read_text()
    assert "shift: heads" in written
    assert "full − heads" in (tmp_path / "out" / "table.md").read_text()


# --- teacher ----------------------------------------------------------------------------


def test_a_taught_student_has_the_tokens_of_simcse(
    scripts: dict[str, ModuleType], base: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    bw.convert(base, dtype="float32").save(tmp_path / "large")
    words = [str(tmp_path / "large"), "--base", str(base), "--texts", str(files[0]), "--dev", str(files[1])]
    out = tmp_path / "out"
    words += ["--steps", "2", "--out", str(out), "--results", str(tmp_path / "pages")]
    scripts["teacher"].main(words)
    found = json.loads((out / "dev.json").read_text())
    assert list(found) == ["teacher", "SimCSE", "taught"]
    simcse, taught = found["SimCSE"]["0"]["tokens"], found["taught"]["0"]["tokens"]
    assert abs(taught / simcse - 1) < 0.05  # other texts of the same file
    page = (tmp_path / "pages" / "teacher-dev.md").read_text()
    assert "taught − SimCSE" in page and "Machine: " in page and str(tmp_path) not in page
    before = {file: file.stat().st_mtime_ns for file in out.rglob("model.safetensors")}
    scripts["teacher"].main(words)
    assert {file: file.stat().st_mtime_ns for file in out.rglob("model.safetensors")} == before
