"""Labelled data of recipes: known tasks get their instruction, on the right sides, and the encoder
keeps it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bothways import recipes
from bothways.cli import main
from bothways.data.labeled.labeled_reader import read_examples
from bothways.data.labeled.templates import INSTRUCTIONS
from bothways.errors import InputError
from bothways.recipes.labeled import EMBEDDED_INSTRUCTION, labeled_rows, stored_prompts
from bothways.training.stage.stage_data import read_stage_data

SCIFACT = f"Instruct: {INSTRUCTIONS['scifact'].text}\nQuery: "
BANKING = f"Instruct: {INSTRUCTIONS['banking77'].text}\nQuery: "


def made(given: Any, template: str | None = "nv_embed") -> dict[str, Any]:
    return labeled_rows(given, "blended", template=template, batches="blended")


def test_a_known_file_carries_its_instruction_on_queries_or_on_both_sides(tmp_path: Path) -> None:
    for name in ("scifact.jsonl", "banking77.jsonl.gz"):
        (tmp_path / name).write_text("")
    retrieval, symmetric = made([tmp_path / "scifact.jsonl", tmp_path / "banking77.jsonl.gz"])["tasks"]
    assert (retrieval["name"], retrieval["query_prompt"], retrieval["document_prompt"]) == ("scifact", SCIFACT, "")
    assert (symmetric["name"], symmetric["query_prompt"], symmetric["document_prompt"]) == ("banking77", BANKING, "")
    # a class's name carries nothing; another text of the class does, which reading the rows shows
    assert symmetric["example_prompt"] == BANKING


def test_unknown_files_are_read_as_they_are() -> None:
    assert made(["a.jsonl", Path("b.jsonl")]) == {
        "source": ["a.jsonl", "b.jsonl"],
        "template": "nv_embed",
        "batches": "blended",
    }
    assert made("scifact.jsonl", None) == {"source": ["scifact.jsonl"], "batches": "blended"}


def test_a_folder_of_known_files_is_a_task_for_each(tmp_path: Path) -> None:
    for name in ("nq.jsonl", "mine.jsonl", "README.md"):
        (tmp_path / name).write_text("")
    tasks = made(str(tmp_path))["tasks"]
    assert [task["name"] for task in tasks] == ["mine", "nq"]
    assert "query_prompt" not in tasks[0]
    assert tasks[1]["query_prompt"].startswith("Instruct: Given a question")


def test_echo_embeddings_nli_is_two_tasks(tmp_path: Path) -> None:
    """Its rows take one instruction and the other in turn (LLM2Vec's E5Data.py)."""
    for name in ("allnli.jsonl", "nq.jsonl"):
        (tmp_path / name).write_text("")
    first, second, third = made(str(tmp_path))["tasks"]
    assert [task["name"] for task in (first, second, third)] == ["allnli_split1", "allnli_split2", "nq"]
    assert (first["part"], second["part"], "part" in third) == ([1, 2], [2, 2], False)
    assert first["source"] == second["source"] == [str(tmp_path / "allnli.jsonl")]
    assert (first["document_prompt"], second["document_prompt"]) == ("", second["query_prompt"])
    assert [task["name"] for task in made([tmp_path / "a" / "allnli.jsonl", tmp_path / "b" / "allnli.jsonl"])["tasks"]] == [
        *("a-allnli_split1", "a-allnli_split2", "b-allnli_split1", "b-allnli_split2")
    ]


def test_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    tasks = made([tmp_path / "one" / "nli.jsonl", tmp_path / "two" / "nli.jsonl"])["tasks"]
    assert [task["name"] for task in tasks] == ["one-nli", "two-nli"]
    assert {task["query_prompt"] for task in tasks} == {f"Instruct: {INSTRUCTIONS['nli'].text}\nQuery: "}


def test_a_mapping_says_everything_itself() -> None:
    given = {
        "tasks": [
            {"name": "fiqa", "source": "f.jsonl", "instruction": "Find answers.", "weight": 0.5},
            {"name": "pairs", "source": "p.jsonl", "instruction": "Find the same", "symmetric": True},
            {"name": "scifact", "source": "s.jsonl", "query_prompt": "mine: "},
            {"name": "other", "source": "o.jsonl"},
        ],
        "batches": "homogeneous",
    }
    data = made(given)
    first, second, third, fourth = data["tasks"]
    assert data["batches"] == "homogeneous"
    assert (first["query_prompt"], first["document_prompt"], first["weight"]) == ("Instruct: Find answers.\nQuery: ", "", 0.5)
    assert second["query_prompt"] == second["document_prompt"] == "Instruct: Find the same\nQuery: "
    assert (third["query_prompt"], "document_prompt" in third, "query_prompt" in fourth) == ("mine: ", False, False)
    assert not any({"instruction", "symmetric"} & task.keys() for task in data["tasks"])
    one = made({"source": "f.jsonl", "instruction": "Find answers", "limit": 3})
    assert (one["source"], one["query_prompt"], one["limit"]) == (["f.jsonl"], "Instruct: Find answers\nQuery: ", 3)


def test_a_stranger_beside_known_tasks_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="bothways"):
        known, stranger = made(["scifact.jsonl", "mine.jsonl"])["tasks"]
    assert known["query_prompt"] and "query_prompt" not in stranger
    assert "mine.jsonl: no instruction is known" in caplog.text
    caplog.clear()
    made(["scifact.jsonl"])
    made(["mine.jsonl"])
    assert not caplog.text


def test_data_by_stage() -> None:
    assert made({"retrieval": "a.jsonl", "blended": ["b.jsonl"]})["source"] == ["b.jsonl"]
    with pytest.raises(InputError, match="none for stage 'blended' \\(there are 'retrieval'\\)"):
        made({"retrieval": "a.jsonl"})


def test_the_embedded_text_has_an_instruction_of_its_own() -> None:
    (task,) = made("python-stdlib")["tasks"]
    assert (task["source"], task["document_prompt"]) == (["python-stdlib"], "")
    assert task["query_prompt"] == f"Instruct: {EMBEDDED_INSTRUCTION}\nQuery: "


def test_prompts_that_the_encoder_keeps() -> None:
    def tasks(**prompts: tuple[str, str]) -> dict[str, Any]:
        return {"tasks": [{"name": name, "query_prompt": a, "document_prompt": b} for name, (a, b) in prompts.items()]}

    both = tasks(qa=("ask: ", ""), same=("same: ", "same: "))
    assert stored_prompts([both, both]) == {"qa": "ask: ", "same": "same: ", "query": "ask: "}
    # two instructions for retrieval: neither is the one of encode_query
    assert stored_prompts([tasks(a=("x: ", ""), b=("y: ", ""))]) == {"a": "x: ", "b": "y: "}
    assert stored_prompts([tasks(same=("s: ", "s: "))]) == {"same": "s: ", "query": "s: ", "document": "s: "}
    assert stored_prompts([{"source": ["a"], "query_prompt": "q: "}]) == {"query": "q: "}
    # rows without a prompt take the encoder's: that of another task would be a wrong one
    assert stored_prompts([tasks(qa=("ask: ", "")), {"tasks": [{"name": "mood"}]}]) == {"qa": "ask: "}
    assert stored_prompts([tasks(qa=("ask: ", "")), {"source": ["a"]}]) == {"qa": "ask: "}
    assert stored_prompts([{"source": ["a"]}]) == {}


@pytest.mark.parametrize(
    ("task", "template", "message"),
    [
        (
            {"name": "a", "source": "a", "instruction": "x", "query_prompt": "y"},
            "nv_embed",
            "has query_prompt and an instruction",
        ),
        ({"name": "a", "source": "a", "symmetric": True}, "nv_embed", "symmetric needs an instruction to place"),
        ({"name": "a", "source": "a", "instruction": "x"}, None, "puts no instructions before texts"),
    ],
)
def test_contradictions_are_refused(task: dict[str, Any], template: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        made({"tasks": [task]}, template)


@pytest.mark.shared
@pytest.mark.parametrize(("folder", "least"), [("klue-nli", 7_000), ("lingnli", 13_000)])
def test_nli_tables_are_triplets_for_simcse(shared: Path, folder: str, least: int) -> None:
    """English or Korean, straight from the table: the recipe's data as the trainer reads it."""
    stage = recipes.simcse(texts=shared / folder / "train.jsonl.gz", preset="laptop", supervised=True).stages[0]
    found = read_stage_data(stage).items
    assert len(found) >= least
    assert all(len(row.positives) == len(row.negatives) == 1 and row.query_prompt == "" for row in found)


@pytest.mark.shared
def test_korean_nli_by_way_of_a_prepared_file_is_the_same(shared: Path, tmp_path: Path) -> None:
    table, out = shared / "klue-nli" / "dev.jsonl.gz", tmp_path / "triplets.jsonl"
    main(["prepare", "nli", str(table), "--out", str(out), "--template", "none"])
    direct, prepared = read_examples(table, task="nli"), read_examples(out)
    assert prepared == direct
