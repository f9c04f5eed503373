"""`--json`: every verb that ends has it, and prints one document on standard output and nothing
else.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from tests.pages import parsed

from bothways.cli.app import app
from bothways.cli.json_output import json_asked, plain
from bothways.encoder.convert import convert
from bothways.exports.result import Result
from tiny import SENTENCES, tiny_llama
from unit.cli.cli_runner import Run, runner

WITHOUT = {"serve": "runs until it is stopped"}
"""Verbs that do not print a result."""


def verbs() -> dict[str, Any]:
    """Every verb with its command, those of a group as "prepare nli"."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", None)
        found |= {name: command} if below is None else {f"{name} {each}": below[each] for each in below}
    return found


@pytest.mark.parametrize("verb", [verb for verb in verbs() if verb not in WITHOUT])
def test_every_verb_has_the_option(verb: str) -> None:
    options = {name for parameter in verbs()[verb].params for name in parameter.opts}
    assert "--json" in options, (
        f"bothways {verb} has no --json: declare `json: Json = False` (bothways.cli.json_output), call print_json with its "
        "result, and add a line to COMMANDS of this file"
    )


@pytest.mark.parametrize("verb", [verb for verb in verbs() if verb not in WITHOUT])
def test_every_verb_is_run_here(verb: str) -> None:
    run = {*COMMANDS, *ELSEWHERE}
    assert verb in run, f"bothways {verb}: add a command line to COMMANDS of {Path(__file__).name}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, an encoder and small files."""
    folder = tmp_path_factory.mktemp("json")
    convert(tiny_llama(folder / "base"), dtype="float32", device="cpu").save(folder / "encoder")
    (folder / "texts.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    write(
        folder / "rows.jsonl",
        [{"query": a, "pos": [b], "neg": [c]} for a, b, c in zip(SENTENCES, SENTENCES[1:], SENTENCES[2:])],
    )
    write(
        folder / "pairs.jsonl",
        [{"sentence1": a, "sentence2": b, "score": float(i)} for i, (a, b) in enumerate(itertools.pairwise(SENTENCES))],
    )
    labels = [{"premise": SENTENCES[0], "hypothesis": SENTENCES[i], "label": i % 3} for i in range(8)]
    write(folder / "nli.jsonl", labels)
    write(folder / "classes.jsonl", [{"text": text, "label": "ab"[i % 2]} for i, text in enumerate(SENTENCES)])
    write(folder / "titles.jsonl", [{"title": text, "category": "ab"[i % 2]} for i, text in enumerate(SENTENCES)])
    beir = folder / "beir"
    (beir / "qrels").mkdir(parents=True)
    write(beir / "corpus.jsonl", [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(SENTENCES)])
    write(beir / "queries.jsonl", [{"_id": "q", "text": "a cat"}])
    (beir / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq\td0\t1\n")
    return folder


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@dataclass(frozen=True)
class Line:
    """A command line after its verb, and keys of its document."""

    words: str
    keys: str


TRAINING = (
    "simcse --preset laptop --base base --data texts.txt --set stages.simcse.optim.steps=1 --set stages.simcse.batch.size=2"
)
COMMANDS: dict[str, Line] = {
    "convert": Line("base --out converted", "out direction dimension pooling max_length notes"),
    "doctor": Line("encoder --quick", "ok checks notes"),
    "merge": Line("encoder encoder --out merged", "out method parents"),
    "families": Line("llama", "families"),
    "recipes": Line("", "recipes"),
    "train": Line(f"{TRAINING} --out trained", "out direction dimension pooling"),
    "encode": Line("encoder texts.txt --out vectors.npy", "out texts vectors dimension"),
    "index": Line("texts.txt --model encoder --to texts.index", "index changes"),
    "search": Line("encoder texts.txt cat", "queries source"),
    "mine": Line("rows.jsonl --with bm25 --out mined.jsonl", "out"),
    "evaluate": Line("encoder --task sts:pairs.jsonl --out results.json", "model out tasks"),
    "report": Line("results.json --out report.html", "out"),
    "card": Line("encoder", "out"),
    "prepare examples": Line("rows.jsonl --out p1.jsonl", "out"),
    "prepare retrieval": Line("beir --out p2.jsonl", "out"),
    "prepare nli": Line("nli.jsonl --out p3.jsonl", "out"),
    "prepare classification": Line("classes.jsonl --out p4.jsonl", "out"),
    "prepare clustering": Line("titles.jsonl --out p5.jsonl", "out"),
    "prepare sts": Line("pairs.jsonl --negatives 1 --out p6.jsonl", "out"),
    "export": Line("encoder --to sentence-transformers --out exported", "out to files"),
    "verify-export": Line("exported", "ok cosines lowest"),
    "ablate": Line(
        "--base base --rows bi --tasks sts:pairs.jsonl --data texts.txt --out ablation --dry-run", "dry_run seconds"
    ),
}
ELSEWHERE = {
    "bench": "starts other processes: tests/unit/bench",
    "demo": "takes minutes",
    "push": "needs a hub: tests/unit/publishing",
}
"""Verbs that only declare the option here, with the reason."""


@pytest.mark.parametrize("verb", COMMANDS)
def test_standard_output_holds_one_document(verb: str, place: Path, monkeypatch: Any, capsys: Any) -> None:
    run: Run = runner(capsys)
    monkeypatch.chdir(place)
    # loaders in processes of their own take a minute, and tests/unit/exports runs them
    monkeypatch.setattr(
        "bothways.exports.verify.verify_export", lambda *_, **__: [Result("llama.cpp", "short, single", 1.0, 0.999, 1.0)]
    )
    done = run(*verb.split(), *COMMANDS[verb].words.split(), "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)  # more than one document, or a line of text, is not JSON
    assert set(COMMANDS[verb].keys.split()) <= document.keys()
    assert not json_asked(), "the next verb would be silent"
    if document.get("out"):
        last = done.err.splitlines()[-1]
        assert last.startswith(("next: ", "saved ")), "the last line says what was written, or what to type next"
        if last.startswith("next: bothways"):
            parsed(last.removeprefix("next: "))


def test_what_people_read_goes_to_standard_error(place: Path, monkeypatch: Any, capsys: Any) -> None:
    run = runner(capsys)
    monkeypatch.chdir(place)
    told = run("search", "encoder", "texts.txt", "cat")
    as_json = run("search", "encoder", "texts.txt", "cat", "--json")
    assert told.out and told.out in as_json.err
    (query,) = json.loads(as_json.out)["queries"]
    assert query["query"] == "cat"
    assert [f"{each['score']:.3f}" for each in query["results"]] == [line.split()[0] for line in told.out.splitlines()[1:]]


def test_a_dry_run_prints_its_plan(place: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(place)
    done = runner(capsys)("train", *TRAINING.split(), "--dry-run", "--json")
    document = json.loads(done.out)
    assert document["recipe"]["name"] == "simcse-laptop" and document["stages"][0]["steps"] == 1


def test_an_error_leaves_standard_output_empty(place: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(place)
    done = runner(capsys)("search", "encoder", "missing.txt", "cat", "--json")
    assert (done.code, done.out) == (2, "") and done.err.startswith("error: missing.txt")


def test_a_mistake_after_the_option_does_not_silence_the_next_command(capsys: Any) -> None:
    run = runner(capsys)
    assert run("recipes", "--json", "--no-such-option").code == 2
    assert run("recipes").out.startswith("llm2vec")


def test_plain_values() -> None:
    @dataclass
    class Row:
        score: float
        file: Path

    assert plain({"rows": (Row(float("nan"), Path("a/b")),), 1: {np.float32(0.5)}}) == {
        "rows": [{"score": None, "file": "a/b"}],
        "1": [0.5],
    }
    assert plain(np.array([[1, 2]])) == [[1, 2]]
