"""Every example runs, on a tiny model and little data, and prints what its header promises."""

from __future__ import annotations

import ast
import json
import runpy
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bothways.evaluation.results import Results
from tiny import SENTENCES, tiny_llama

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
if not EXAMPLES.is_dir():
    pytest.skip("needs a checkout", allow_module_level=True)
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
NOTEBOOK = EXAMPLES / "encode_and_search.ipynb"
LONGEST = 60  # lines of code that a reader takes in at once
Run = Callable[..., str]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "base", max_position_embeddings=2048)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("train_on_my_texts", "--steps", 1)` gives what the script prints, in an empty folder."""

    def run(name: str, *words: object) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_train_on_my_texts(run: Run, base: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(SENTENCES), encoding="utf-8")
    words = ("--model", base, "--texts", texts, "--steps", 2, "--size", 4, "--out", "out")
    told = run("train_on_my_texts", *words)
    assert told.startswith("8 texts, about ") and told.count("  before: ") == told.count("  after:  ") == 6
    assert (tmp_path / "out" / "config.json").is_file()
    # a second start takes the finished run
    assert run("train_on_my_texts", *words).splitlines()[1:] == told.splitlines()[1:]


def test_train_with_labels(run: Run, base: Path, tmp_path: Path) -> None:
    told = run("train_with_labels", "--model", base, "--steps", 2, "--out", "out")
    assert "'how long until my parcel arrives?'\n  answer:   'Parcels leave our warehouse" in told
    answer, negative = (told.split(f"  {name}:")[1].splitlines()[0].strip() for name in ("answer", "negative"))
    assert negative != answer
    assert "before: " in told and "after:  " in told and (tmp_path / "out" / "config.json").is_file()


def test_evaluate_and_report(run: Run, base: Path, tmp_path: Path) -> None:
    told = run("evaluate_and_report", "--model", base, "--against", base, "--out", "out").splitlines()
    scores = {line.split(":")[0]: float(line.split()[-1]) for line in told[:2]}
    for name in ("baseline", "mine"):
        saved = Results.load(tmp_path / "out" / f"{name}.json")
        assert scores[name] == pytest.approx(saved["pairs"]["spearman"], abs=5e-4)
    assert told[2].startswith("mine ") and "the baseline baseline" in told[2]
    assert told[2] in (tmp_path / "out" / "report.html").read_text(encoding="utf-8").replace("<bdi>", "").replace(
        "</bdi>", ""
    ).replace("&nbsp;", " ")


def test_long_documents(run: Run, base: Path) -> None:
    told = run("long_documents", "--model", base, "--top", 2)
    late, alone = told.split("each passage alone\n")
    assert (
        late.startswith("late chunking\n")
        and late.count("handbook.txt, character ") == alone.count("handbook.txt, character ") == 2
    )
    assert late.removeprefix("late chunking\n") != alone, "late chunking reads the rest of the document too"


def test_export_and_serve(run: Run, base: Path) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    told = run("export_and_serve", "--model", base, "--out", "out", "--port", port)
    assert "modules.json" in told.splitlines()[0]
    assert "12 texts from the server, lowest cosine to the encoder 1.000000" in told


def test_the_notebook(base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its cells run in order; as papermill does, values follow the cell that is tagged "parameters"."""
    monkeypatch.chdir(EXAMPLES)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    space: dict[str, Any] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), NOTEBOOK.name, "exec"), space)
        if "parameters" in cell["metadata"].get("tags", ()):
            space["MODEL"] = str(base)
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "bidirectional 32 512" and "checks passed" in told[-6]
    assert told[-5] == "(12, 32) float32" and float(told[-1]) < 1e-5
    assert [line.split("  ", 1)[1] in Path("data/answers.txt").read_text() for line in told[-4:-1]] == [True] * 3


def test_the_notebook_is_one() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["name"]) == (4, "python3")
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    assert f"jupyter lab examples/{NOTEBOOK.name}" in "".join(notebook["cells"][0]["source"])
    assert all(not cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"), "clear the outputs"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_is_short_and_says_how_to_run_it(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    tree = ast.parse(text)
    header = ast.get_docstring(tree) or ""
    assert f"python examples/{script.name}\n" in header or f"python examples/{script.name} --" in header
    assert "rint" in header, "the header says what the script prints"
    assert 'default="smollm2-135m"' in text, "the name that a user types"
    code = text.splitlines()[tree.body[0].end_lineno :]
    assert sum(bool(line.strip()) for line in code) <= LONGEST
    assert f"test_{script.stem}" in globals(), "no test runs it"
