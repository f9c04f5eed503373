"""LLM2Vec's supervised data as it is downloaded: files, halves of files, and which instruction each
row gets.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from bothways.data.labeled.templates import INSTRUCTIONS
from bothways.training.recipe.llm2vec_e5 import e5_data
from bothways.training.recipe.recipe import Recipe
from bothways.training.stage.stage_data import read_data


def stage_of(data: dict[str, Any]) -> dict[str, Any]:
    return {"name": "supervised", "objective": {"kind": "supervised"}, "batch": {"size": 2}, "data": data}


def test_the_download_of_echo_embeddings_is_read_whole(tmp_path: Path, caplog) -> None:
    """Its NLI and Quora are one file each; LLM2Vec's first version wanted them split, and its code
    now takes rows in turn.
    """
    for name in ("allnli", "nq"):
        rows = [{"query": f"{name} {number}", "positive": f"p{number}", "negative": f"n{number}"} for number in range(5)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "quora_duplicates.jsonl.gz").write_bytes(b"")
    with caplog.at_level(logging.WARNING, "bothways"):
        (stage,) = Recipe.from_values(
            {"name": "n", "base": "b", "stages": [stage_of(e5_data(str(tmp_path), limit=None, where="supervised.json"))]}
        ).stages
    assert "has 5 of the E5 portion's 16 tasks; these are missing: dureader" in caplog.text
    sources = {task.name: (Path(task.source[0]).name, task.part) for task in stage.data.tasks}
    assert sources["quora_duplicates_split2"] == ("quora_duplicates.jsonl.gz", (2, 2))
    small = stage.data.model_copy(update={"tasks": tuple(task for task in stage.data.tasks if "quora" not in task.name)})
    found = {(row.task, row.query): (row.query_prompt, row.document_prompt) for row in read_data(small, "examples").items}
    premise, similar = (f"{INSTRUCTIONS[f'allnli_split{number}'].text}; " for number in (1, 2))
    assert [found["allnli_split1", f"allnli {number}"] for number in (0, 2, 4)] == [(premise, "")] * 3
    assert [found["allnli_split2", f"allnli {number}"] for number in (1, 3)] == [(similar, similar)] * 2
    assert len(found) == 10


def test_files_of_before_issue_58_go_before_halves(tmp_path: Path) -> None:
    for name in ("allnli", "allnli_split2"):
        (tmp_path / f"{name}.jsonl").write_text("")
    tasks = {task["name"]: task for task in e5_data(str(tmp_path), limit=None, where="s.json")["tasks"]}
    assert (Path(tasks["allnli_split1"]["source"][0]).name, tasks["allnli_split1"]["part"]) == ("allnli.jsonl", (1, 2))
    assert (Path(tasks["allnli_split2"]["source"][0]).name, tasks["allnli_split2"]["part"]) == ("allnli_split2.jsonl", None)
