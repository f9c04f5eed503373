"""The published instructions: their texts, their forms, their sides, and what happens outside the
table.
"""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from bothways.errors import InputError
from bothways.evaluation.mteb import task_prompt
from bothways.evaluation.mteb.instructions import instructed_tasks, styled_prompt

# MTEB of 2023, the 56 tasks of the papers, with the twelve forums of CQADupstack as one
RETRIEVAL = {
    *("ArguAna", "ClimateFEVER", "CQADupstackRetrieval", "DBPedia", "FEVER", "FiQA2018", "HotpotQA", "MSMARCO"),
    *("NFCorpus", "NQ", "QuoraRetrieval", "SCIDOCS", "SciFact", "Touche2020", "TRECCOVID"),
}
RERANKING = {"AskUbuntuDupQuestions", "MindSmallReranking", "SciDocsRR", "StackOverflowDupQuestions"}


@pytest.mark.parametrize(
    ("task", "style", "side", "expected"),
    [
        ("STS12", "llm2vec", "symmetric", "Retrieve semantically similar text: "),
        ("SICK-R", "llm2vec", "symmetric", "Retrieve semantically similar text: "),
        ("STS12", "nv_embed", "symmetric", "Instruct: Retrieve semantically similar text\nQuery: "),
        ("STS12", "e5", "symmetric", "Instruct: Retrieve semantically similar text.\nQuery: "),
        ("SciFact", "llm2vec", "query", "Given a scientific claim, retrieve documents that support or refute the claim: "),
        ("SciFact", "llm2vec", "document", ""),
        ("SciFact", "nv_embed", "document", ""),
        ("StackOverflowDupQuestions", "llm2vec", "document", "Retrieve duplicate questions from StackOverflow forum: "),
        ("Banking77Classification", "llm2vec", "symmetric", "Given a online banking query, find the corresponding intents: "),
        ("TwentyNewsgroupsClustering", "llm2vec", "symmetric", "Identify the topic or theme of the given news articles: "),
        # versions and sampled sets carry the instruction of their task
        ("STS22.v2", "llm2vec", "symmetric", "Retrieve semantically similar text: "),
        ("FEVERHardNegatives.v2", "llm2vec", "query", "Given a claim, retrieve documents that support or refute the claim: "),
    ],
)
def test_text_and_form(task, style, side, expected):
    assert task_prompt(task, style, side) == expected


def test_retrieval_instructs_queries_alone_and_the_rest_both_sides():
    for task in instructed_tasks():
        assert task_prompt(task, "llm2vec", "query").endswith(": "), task
        is_retrieval = task in RETRIEVAL or task.startswith("CQADupstack")
        assert (task_prompt(task, "llm2vec", "document") == "") == is_retrieval, task
    assert set(instructed_tasks()) >= RERANKING
    assert len(instructed_tasks()) == 56 + 12, "MTEB's 56 tasks, and the forums of one of them by name"


def test_every_task_of_the_table_is_one_of_mtebs_and_carries_its_instruction():
    mteb = pytest.importorskip("mteb")
    for name in instructed_tasks():
        metadata = mteb.get_task(name).metadata
        own = metadata.prompt.get("query") if isinstance(metadata.prompt, dict) else metadata.prompt
        is_retrieval = task_prompt(name, "e5", "document") == ""
        assert is_retrieval == (metadata.type == "Retrieval"), name
        # mteb took E5-mistral's instructions over as its own
        assert own is None or task_prompt(name, "nv_embed") == f"Instruct: {own}\nQuery: ", name


def test_other_tasks_get_their_own_instruction_or_none_and_the_log_says_which(caplog):
    with caplog.at_level(logging.INFO, logger="bothways"):
        assert styled_prompt("Mine", "llm2vec", "query", own={"query": "Find the recipe"}) == "Find the recipe: "
        assert styled_prompt("Mine", "llm2vec", "document", own={"query": "Find the recipe"}) == ""
        assert styled_prompt("Mine", "e5", "document", own="Find it", kind="Retrieval") == ""
        assert styled_prompt("Mine", "e5", "document", own="Find it", kind="Reranking") == "Instruct: Find it\nQuery: "
        assert styled_prompt("Mine", "nv_embed", "symmetric") == ""
    assert "Mine: there is no llm2vec instruction for this task; using its own: Find the recipe" in caplog.text
    assert "Mine: there is no nv_embed instruction for this task; using none" in caplog.text


def test_a_task_that_only_mteb_knows_gets_mtebs_instruction():
    mteb = pytest.importorskip("mteb")
    own = mteb.get_task("BuiltBenchReranking").metadata.prompt
    assert task_prompt("BuiltBenchReranking", "llm2vec") == f"{own['query']}: "
    assert task_prompt("BuiltBenchReranking", "llm2vec", "document") == ""


def test_unknown_style():
    with pytest.raises(InputError, match=r"prompts='gte' is unknown; choose one of llm2vec, nv_embed, e5"):
        task_prompt("SciFact", "gte")  # type: ignore[arg-type]


def test_the_table_needs_no_mteb():
    code = (
        "import sys; sys.modules['mteb'] = None\n"
        "from bothways.evaluation.mteb import task_prompt\n"
        "print(repr(task_prompt('STS12')), repr(task_prompt('Unheard')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "'Retrieve semantically similar text: ' ''"
