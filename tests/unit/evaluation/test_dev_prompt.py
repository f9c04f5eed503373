"""The instruction of a stage's rows in its development metric, when only the rows bring it."""

from __future__ import annotations

import json

import pytest

import bothways as bw
from bothways.data.labeled.example import Example
from bothways.evaluation.dev_prompt import instructed
from bothways.evaluation.registry import make_task
from bothways.evaluation.specification import parse_specification
from bothways.evaluation.task import RunOptions
from unit.training.material import TEXTS, metrics, recipe

SAME = [
    Example(f"q{n}", (f"p{n}",), query_prompt="Similar & same: ", document_prompt="Similar & same: ", task="x")
    for n in range(3)
]
CLASSES = [Example(f"c{n}", ("name",), query_prompt="Class: ", task="banking77", label="a") for n in range(3)]
FIND = [Example(f"f{n}", (f"d{n}",), query_prompt="Find: ", task="fiqa") for n in range(3)]
BARE = [Example(f"b{n}", (f"d{n}",), task="bare") for n in range(3)]


@pytest.mark.parametrize(
    ("metric", "rows", "prompt"),
    [
        ("sts:dev.jsonl", SAME + CLASSES + FIND, "Similar & same: "),
        ("pairs:dev.jsonl", SAME + CLASSES, "Similar & same: "),
        ("sts:dev.jsonl?aggregation=mean", SAME, "Similar & same: "),
        ("classification:data", SAME + CLASSES + FIND, "Class: "),
        ("clustering:dev.jsonl", CLASSES, "Class: "),
        ("clustering:dev.jsonl", SAME, "Similar & same: "),
        ("classification:some/banking77", CLASSES, "Class: "),
        ("classification:fiqa.jsonl", CLASSES + FIND, "Find: "),  # the path names the rows' task
        ("sts:dev.jsonl", FIND + BARE, None),
        ("sts:dev.jsonl", CLASSES, None),
        ("classification:data", BARE, None),
        ("stdlib", SAME, None),
        ("geometry:dev.jsonl", SAME, None),
        ("sts:dev.jsonl", ["a text"], None),
    ],
)
def test_the_one_instruction_of_alike_rows(metric, rows, prompt):
    assert parse_specification(instructed(metric, rows)).options.get("prompt") == prompt
    assert parse_specification(instructed(metric, rows)).argument == parse_specification(metric).argument


@pytest.mark.parametrize(
    ("metric", "rows", "prompts"),
    [
        ("retrieval:data/scifact", FIND + SAME + CLASSES, ("Find: ", "")),
        ("reranking:dev.jsonl?split=dev", FIND, ("Find: ", "")),
        ("retrieval:data", [Example("q", ("d",), query_prompt="Q: ", document_prompt="D: ")], ("Q: ", "D: ")),
        ("retrieval:data/fiqa", [*FIND, Example("q", ("d",), query_prompt="Other: ", task="x")], ("Find: ", "")),
        ("retrieval:data", [*FIND, Example("q", ("d",), query_prompt="Other: ", task="x")], None),
        ("retrieval:data", FIND + BARE, None),
        ("retrieval:data", BARE, None),
        ("retrieval:data", CLASSES + SAME, None),
        ("retrieval:data?query_prompt=Own", FIND, ("Own", None)),
        ("reranking:dev.jsonl?document_prompt=", FIND, (None, "")),
    ],
)
def test_retrieval_and_reranking_get_the_instruction_of_each_side(metric, rows, prompts):
    options = parse_specification(instructed(metric, rows)).options
    assert (options.get("query_prompt"), options.get("document_prompt")) == (prompts or (None, None))


@pytest.mark.parametrize("metric", ["sts:dev.jsonl?prompt=", "sts:dev.jsonl?prompt=Own:"])
def test_a_prompt_of_the_metric_stays(metric):
    assert instructed(metric, SAME) == metric


def test_several_instructions_are_named(caplog):
    others = [Example("r", ("s",), query_prompt="Other: ", document_prompt="Other: ", task="y")]
    assert instructed("sts:dev.jsonl", SAME + others) == "sts:dev.jsonl"
    assert (
        "because the rows have 2 of them, the first are 'Other: ' and 'Similar & same: '; name the right one as ?prompt="
        in caplog.text
    )


def test_a_run_measures_with_it(tmp_path, caplog):
    """Rows of one's own bring a prompt that no recipe knows. The figure is that of `evaluate` under
    the prompt.
    """
    rows = [{"query": text, "pos": [f"{text}!"], "query_prompt": "Say: ", "document_prompt": "Say: "} for text in TEXTS[:4]]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = [{"sentence1": TEXTS[n], "sentence2": TEXTS[n + 3], "score": n % 4} for n in range(9)]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    metric = f"sts:{tmp_path / 'dev.jsonl'}"
    stage = {
        "name": "supervised",
        "objective": {"kind": "supervised", "max_length": 24},
        "data": {"source": str(tmp_path / "rows.jsonl")},
        "batch": {"size": 2},
        "optim": {"lr": 1e-3, "steps": 2},
        "eval": {"metric": metric, "every": 2},
    }
    with caplog.at_level("INFO", logger="bothways"):
        encoder = bw.train(recipe(tmp_path, stage), tmp_path / "out")
    assert "is measured with the instruction of the rows, 'Say: '" in caplog.text
    (measured,) = [row["dev"] for row in metrics(tmp_path / "out") if "dev" in row]
    assert (
        "the encoder does not store: 'Say: '; pass the right one when you encode, as encode(texts, prompt='Say: ')"
        in caplog.text
    )
    task = make_task(f"{metric}?prompt=Say: ")
    assert measured == pytest.approx(task.run(encoder, RunOptions()).metrics["spearman"], abs=1e-6)
