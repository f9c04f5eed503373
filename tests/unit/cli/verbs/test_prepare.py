"""`bothways prepare`: each kind from file to file, its account and its exit codes. The options are
frozen here on purpose.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from bothways.cli.verbs.prepare import group
from bothways.data.labeled.labeled_reader import read_examples
from unit.cli.cli_runner import Run, runner

OUTPUT = ["sources", "--out", "--summary"]
PROMPT = ["--template", "--instruction", "--without", "--near", "--near-by"]
LABELS = ["--label", "--separator", "--label-texts", "--negatives", "--per-label", "--total"]
LAST = ["--task", "--seed"]
KINDS = {
    "examples": [*OUTPUT, "--dialect", "--task", "--limit", "--template", *PROMPT[2:], "--queries-only"],
    "retrieval": ["folder", *OUTPUT[1:], *PROMPT, "--split", "--min-grade", "--task"],
    "nli": [*OUTPUT, *PROMPT, "--pairing", *LAST],
    "classification": [*OUTPUT, *LABELS, *PROMPT, "--by", "--text", *LAST],
    "clustering": [*OUTPUT, *LABELS, *PROMPT, "--form", "--title", "--body", "--title-before-body", "--by", *LAST],
    "sts": [*OUTPUT, *PROMPT, "--threshold", "--ceiling", "--negatives", "--chosen-by", "--first-rank", *LAST],
}


@pytest.fixture
def run(capsys) -> Run:
    return runner(capsys)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_kinds_and_options_are_these() -> None:
    command: Any = typer.main.get_command(group)
    assert {
        name: [
            *(parameter.name for parameter in kind.params if parameter.param_type_name == "argument"),
            *(
                parameter.opts[0]
                for parameter in kind.params
                if parameter.param_type_name == "option" and parameter.opts[0] != "--json"
            ),
        ]
        for name, kind in command.commands.items()
    } == KINDS


def test_nli(run: Run, tmp_path: Path) -> None:
    labels = ("entailment", "contradiction", "neutral", "-")
    rows = [{"premise": "p", "hypothesis": f"h {label}", "label": label} for label in labels]
    out = tmp_path / "triplets.jsonl.gz"
    done = run("prepare", "nli", write(tmp_path / "nli.jsonl", rows), "--out", out, "--template", "nv_embed")
    assert done.code == 0, done.err
    assert "1 examples from 4 rows" in done.out and "left out: 1 neutral" in done.out
    assert "left out: 1 without a gold label" in done.out
    example = read_examples(out)[0]
    assert (example.query, example.positives, example.negatives) == ("p", ("h entailment",), ("h contradiction",))
    assert example.query_prompt == example.document_prompt == "Instruct: Retrieve semantically similar text\nQuery: "


def test_classification_by_label_and_by_example(run: Run, tmp_path: Path) -> None:
    rows = [{"text": f"{label} {n}", "label": label} for label in ("a_x", "b_x", "c_x") for n in range(4)]
    data, test = write(tmp_path / "a.jsonl", rows), write(tmp_path / "test.jsonl", [{"text": "A_X 0!"}])
    out, account = tmp_path / "out.jsonl", tmp_path / "account.json"
    options = ["--without", test, "--summary", account, "--template", "plain", "--instruction", "Classify"]
    done = run("prepare", "classification", data, "--out", out, "--by", "label", *options)
    assert done.code == 0, done.err
    assert "copy: 'a_x 0' ~ 'A_X 0!'" in done.out
    facts = json.loads(account.read_text())
    assert (facts["rows"], facts["examples"], facts["dropped"]) == (12, 11, {"held by evaluation data": 1})
    assert {(e.query_prompt, e.document_prompt) for e in read_examples(out)} == {("Classify ", "")}
    done = run("prepare", "classification", data, "--out", out, *options, "--per-label", 2, "--negatives", 3)
    assert done.code == 0, done.err
    examples = read_examples(out)
    assert len(examples) == 6 and {len(e.negatives) for e in examples} == {3}
    assert {(e.query_prompt, e.document_prompt) for e in examples} == {("Classify ", "Classify ")}


def test_clustering_and_sts(run: Run, tmp_path: Path) -> None:
    rows = [{"title": f"{label} {n}", "abstract": f"long {label} {n}", "category": label} for label in "xy" for n in range(3)]
    out = tmp_path / "out.jsonl"
    done = run("prepare", "clustering", write(tmp_path / "a.jsonl", rows), "--out", out, "--form", "p2p", "--negatives", 2)
    assert done.code == 0, done.err
    assert all(text.startswith("long") for e in read_examples(out) for text in (e.query, *e.positives, *e.negatives))
    pairs = [
        {"sentence1": "a cat", "sentence2": "one cat", "score": 4.5},
        {"sentence1": "a dog", "sentence2": "a bird", "score": 0},
    ]
    done = run("prepare", "sts", write(tmp_path / "b.jsonl", pairs), "--out", out, "--chosen-by", "random", "--negatives", 1)
    assert done.code == 0, done.err
    assert [e.query for e in read_examples(out)] == ["a cat", "one cat"]


def test_clustering_by_the_text_of_the_category(run: Run, tmp_path: Path) -> None:
    """The positive is the text of the query's own category, the negatives are those of all
    categories that the text is not in.
    """
    categories = {"cats": "cs.CL", "dogs": "cs.LG", "both": "cs.CL cs.LG", "birds": "math.CO", "fish": "math.CO"}
    words = {"cs.CL": "language", "cs.LG": "learning", "math.CO": "combinatorics"}
    data = write(tmp_path / "a.jsonl", [{"title": title, "categories": own} for title, own in categories.items()])
    texts = tmp_path / "words.json"
    texts.write_text(json.dumps(words))
    out = tmp_path / "out.jsonl"
    options = ["--by", "label", "--label-texts", texts, "--separator", " ", "--template", "plain", "--instruction", "Find"]
    done = run("prepare", "clustering", data, "--out", out, *options)
    assert done.code == 0, done.err
    found = {example.query: example for example in read_examples(out)}
    assert found.keys() == categories.keys()
    for title, example in found.items():
        own = categories[title].split()
        assert len(example.positives) == 1 and example.positives[0] in {words[name] for name in own}
        assert sorted(example.negatives) == sorted(words[name] for name in words if name not in own)
        assert words[str(example.label)] == example.positives[0] and set(example.labels or own) == set(own)
        assert (example.query_prompt, example.document_prompt) == ("Find ", "")
    done = run("prepare", "clustering", data, "--out", out, *options, "--negatives", 1)
    assert done.code == 0 and {len(example.negatives) for example in read_examples(out)} == {1}
    texts.write_text(json.dumps({"cs.CL": "language"}))
    done = run("prepare", "clustering", data, "--out", out, *options)
    assert done.code == 2 and "has no text" in done.err


def test_retrieval_and_examples(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    write(folder / "corpus.jsonl", [{"_id": "d", "title": "T", "text": "x"}])
    write(folder / "queries.jsonl", [{"_id": "q", "text": "q"}])
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    out, merged = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    done = run("prepare", "retrieval", folder, "--out", out, "--template", "e5")
    assert done.code == 0, done.err
    other = write(tmp_path / "c.jsonl", [{"anchor": "q2", "positive": "p"}, {"anchor": "held", "positive": "p"}])
    test = write(tmp_path / "test.jsonl", [{"text": "held"}])
    done = run("prepare", "examples", out, other, "--out", merged, "--without", test)
    assert done.code == 0, done.err
    found = read_examples(merged)
    assert [(e.query, e.task, e.query_prompt) for e in found] == [("q", "set", "query: "), ("q2", "c", "")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nli", "DATA", "--out", "OUT", "--pairing", "all"], "pairing: 'all'"),
        (["nli", "missing.jsonl", "--out", "OUT"], "missing.jsonl: no such file"),
        (["nli", "DATA", "--out", "DIR/a.csv"], "written as .jsonl"),
        # before anything is read: the source is not even there
        (["nli", "DIR/absent.jsonl", "--out", "DIR/a.csv"], "written as .jsonl"),
        (["nli", "DATA", "--out", "OUT", "--near", "0.5"], "--near: .* name it with --without"),
        (["nli", "DATA", "--out", "OUT", "--task", "new", "--template", "plain"], "task 'new': no instruction is known"),
        (["nli", "DATA", "--out", "OUT", "--without", "DATA"], "no example was made: .* held by evaluation data"),
        (["examples", "DATA", "--out", "OUT", "--dialect", "simcse"], "row 1: no column 'sent0'"),
    ],
)
def test_bad_input_leaves_nothing(run: Run, tmp_path: Path, words: list[str], message: str) -> None:
    import re

    rows = [{"premise": "p", "hypothesis": label, "label": label} for label in ("entailment", "contradiction")]
    data = write(tmp_path / "data.jsonl", rows)
    places = {"DATA": str(data), "OUT": str(tmp_path / "out.jsonl"), "DIR/a.csv": str(tmp_path / "a.csv")}
    done = run("prepare", *(places.get(word, word) for word in words))
    assert done.code == 2 and re.search(message, done.err), done
    assert len([line for line in done.err.splitlines() if line.startswith("error:")]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]
