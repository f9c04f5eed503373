"""LLM2Vec's supervised training data: the folder of the E5 portion, one .jsonl file a data set, with the instructions of its own code.

It stands apart because it is a list of another project's names. Source: McGill-NLP/llm2vec @312adcf, llm2vec/dataset/E5Data.py; the
files are those of jakespringer/echo-embeddings. An instruction there ends in a semicolon, unlike in its evaluation, and stands before
queries. NLI and Quora have two each, for the rows in turn (`data.templates.HALVES`); one of NLI's and both of Quora's stand before all
texts, as that code means it: it asks for names that its files no longer have. Batches are of one data set. Two things differ: halves,
which carry different instructions, share no batches here; and files that are not there are left out with a line of the log.
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
    """The `data` of a stage that trains on the E5 portion.

    Args:
        folder: with a file `NAME.jsonl` (or .jsonl.gz) for each of DATASETS, of which two halves may be one file; it need not be there
            yet, and is then taken as complete.
        limit: rows of each file at most.
        where: name of the configuration, for messages.

    Raises:
        InputError: the folder is there and holds none of the files.
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
            "%s: %s holds %d of the E5 portion's %d tasks, not %s", where, folder, len(found), len(DATASETS), ", ".join(missing)
        )
    tasks = [_task(name, rows, limit) for name, rows in (found or _complete(place)).items()]
    return {"tasks": tasks, "batches": "homogeneous"}


def holds_e5(folder: str) -> bool:
    """Whether any file of the E5 portion lies in this folder."""
    return bool(_files(Path(folder).expanduser()))


class _Rows(NamedTuple):
    """Where the rows of a task stand: a file, and which of its rows; all of them where `part` is None."""

    path: Path
    part: tuple[int, int] | None = None


def _complete(place: Path) -> dict[str, _Rows]:
    """The rows of every task, in the layout of the download."""
    rows = {name: _Rows(place / f"{name}.jsonl") for name in DATASETS}
    halves = {
        half: _Rows(place / f"{name}.jsonl", (number, len(names)))
        for name, names in HALVES.items()
        for number, half in enumerate(names, start=1)
    }
    return rows | halves


def _files(place: Path) -> dict[str, _Rows]:
    """The rows of the tasks that are there; a file of its own goes before half of another."""
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
