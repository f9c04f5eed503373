"""LLM2Vec's supervised training data: the folder of the E5 portion, one .jsonl file per data set.

The instructions are those of its own code, McGill-NLP/llm2vec @312adcf, llm2vec/dataset/E5Data.py.
The files are those of jakespringer/echo-embeddings. An instruction there ends in a semicolon,
unlike in its evaluation, and is put before queries. NLI and Quora have two each, which the rows use
in turn (`data.templates.HALVES`). One of NLI's and both of Quora's are put before all texts. That
code means to do so, but asks for names that its files no longer have. Batches are of one data set.

Two things differ: halves with different instructions share no batches here, and absent files are
left out with a line in the log.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

from bothways.data.labeled.templates import HALVES, task_prompts
from bothways.data.rows import plain_or_gzipped
from bothways.errors import InputError

log = logging.getLogger("bothways")

TEMPLATE = "llm2vec_training"
DATASETS = (
    "allnli_split1",
    "allnli_split2",
    "dureader",
    "eli5_question_answer",
    "fever",
    "hotpot_qa",
    "miracl",
    "mrtydi",
    "msmarco_passage",
    "msmarco_document",
    "nq",
    "quora_duplicates_split1",
    "quora_duplicates_split2",
    "squad",
    "t2ranking",
    "trivia_qa",
)


def e5_data(folder: str, *, limit: int | None, where: str) -> dict[str, Any]:
    """Make the `data` of a stage that trains on the E5 portion.

    Args:
        folder: folder with a file `NAME.jsonl` (or .jsonl.gz) for each of DATASETS. Two halves may
            be in one file. If the folder does not exist yet, it is taken as complete.
        limit: maximum number of rows of each file. If None, all.
        where: name of the configuration, for messages.

    Raises:
        InputError: if the folder exists and has none of the files.
    """
    place = Path(folder).expanduser()
    found = _files(place)
    if place.exists() and not found:
        raise InputError(
            f"{where}: {folder} holds none of the E5 portion's files ({next(iter(HALVES))}.jsonl, …); name their folder"
        )
    missing = [name for name in DATASETS if found and name not in found]
    if missing:
        log.warning(
            "%s: %s has %d of the E5 portion's %d tasks; these are missing: %s",
            where,
            folder,
            len(found),
            len(DATASETS),
            ", ".join(missing),
        )
    tasks = [_task(name, rows, limit) for name, rows in (found or _complete(place)).items()]
    return {"tasks": tasks, "batches": "homogeneous"}


def holds_e5(folder: str) -> bool:
    """Tell if a folder has any file of the E5 portion."""
    return bool(_files(Path(folder).expanduser()))


class _Rows(NamedTuple):
    """The rows of a task: a file, and which of its rows. If `part` is None, all of them."""

    path: Path
    part: tuple[int, int] | None = None


def _complete(place: Path) -> dict[str, _Rows]:
    """List the rows of every task, in the layout of the download."""
    rows = {name: _Rows(place / f"{name}.jsonl") for name in DATASETS}
    halves = {
        half: _Rows(place / f"{name}.jsonl", (number, len(names)))
        for name, names in HALVES.items()
        for number, half in enumerate(names, start=1)
    }
    return rows | halves


def _files(place: Path) -> dict[str, _Rows]:
    """List the rows of the tasks that exist. A file of its own precedes half of another."""
    found: dict[str, _Rows] = {}
    for name, rows in _complete(place).items():
        for path, part in ((place / f"{name}.jsonl", None), rows):
            there = plain_or_gzipped(path)
            if there is not None:
                found[name] = _Rows(there, part)
                break
    return found


def _task(name: str, rows: _Rows, limit: int | None) -> dict[str, Any]:
    prompts = task_prompts(TEMPLATE, name)
    return {
        "name": name,
        "source": [str(rows.path)],
        "part": rows.part,
        "dialect": "e5",
        "query_prompt": prompts.query,
        "document_prompt": prompts.document,
        "limit": limit,
    }
