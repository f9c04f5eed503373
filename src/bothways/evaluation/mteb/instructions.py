r"""Instructions for the texts of each MTEB task, in the three published styles.

This file holds data and string formatting, and does not need mteb. The instructions are those of
E5-mistral (Wang et al. 2023, arXiv 2401.00368). The other projects adopted them:

    llm2vec    "Retrieve semantically similar text: …"
               LLM2Vec, test_configs/mteb/task_to_instructions.json
    nv_embed   "Instruct: Retrieve semantically similar text\nQuery: …"
               NV-Embed (arXiv 2405.17428, §3.2)
    e5         "Instruct: Retrieve semantically similar text.\nQuery: …"
               E5-mistral

Documents of retrieval tasks do not get an instruction. In every other task both sides get it,
including reranking, as in the evaluation of LLM2Vec and E5. NV-Embed's own list is not public, so
its texts here are E5-mistral's without the full stop.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Literal, get_args

from bothways.errors import InputError, MissingExtra
from bothways.evaluation.mteb.library import load_mteb
from bothways.moved import old_names
from bothways.nearest import meant
from bothways.search.vectors import Role

log = logging.getLogger("bothways")

PromptStyle = Literal["llm2vec", "nv_embed", "e5"]

_CQADUPSTACK = "Given a question, retrieve detailed question descriptions from Stackexchange that are duplicates to the given question"
_FORUMS = (
    *("Android", "English", "Gaming", "Gis", "Mathematica", "Physics"),
    *("Programmers", "Stats", "Tex", "Unix", "Webmasters", "Wordpress"),
)

_RETRIEVAL = {
    "ArguAna": "Given a claim, find documents that refute the claim",
    "ClimateFEVER": "Given a claim about climate change, retrieve documents that support or refute the claim",
    "CQADupstackRetrieval": _CQADUPSTACK,
    **{f"CQADupstack{forum}Retrieval": _CQADUPSTACK for forum in _FORUMS},
    "DBPedia": "Given a query, retrieve relevant entity descriptions from DBPedia",
    "FEVER": "Given a claim, retrieve documents that support or refute the claim",
    "FiQA2018": "Given a financial question, retrieve user replies that best answer the question",
    "HotpotQA": "Given a multi-hop question, retrieve documents that can help answer the question",
    "MSMARCO": "Given a web search query, retrieve relevant passages that answer the query",
    "NFCorpus": "Given a question, retrieve relevant documents that best answer the question",
    "NQ": "Given a question, retrieve Wikipedia passages that answer the question",
    "QuoraRetrieval": "Given a question, retrieve questions that are semantically equivalent to the given question",
    "SCIDOCS": "Given a scientific paper title, retrieve paper abstracts that are cited by the given paper",
    "SciFact": "Given a scientific claim, retrieve documents that support or refute the claim",
    "Touche2020": "Given a question, retrieve detailed and persuasive arguments that answer the question",
    "TRECCOVID": "Given a query on COVID-19, retrieve documents that answer the query",
}

_TWEETS = "Retrieve tweets that are semantically similar to the given tweet"
_SIMILAR = "Retrieve semantically similar text"
_STS = (
    "BIOSSES",
    "SICK-R",
    "STS12",
    "STS13",
    "STS14",
    "STS15",
    "STS16",
    "STS17",
    "STS22",
    "STSBenchmark",
)

_BOTH_SIDES = {
    # classification
    "AmazonCounterfactualClassification": (
        "Classify a given Amazon customer review text as either counterfactual or not-counterfactual"
    ),
    "AmazonPolarityClassification": "Classify Amazon reviews into positive or negative sentiment",
    "AmazonReviewsClassification": "Classify the given Amazon review into its appropriate rating category",
    "Banking77Classification": "Given a online banking query, find the corresponding intents",
    "EmotionClassification": (
        "Classify the emotion expressed in the given Twitter message into one of the six emotions: "
        "anger, fear, joy, love, sadness, and surprise"
    ),
    "ImdbClassification": "Classify the sentiment expressed in the given movie review text from the IMDB dataset",
    "MassiveIntentClassification": "Given a user utterance as query, find the user intents",
    "MassiveScenarioClassification": "Given a user utterance as query, find the user scenarios",
    "MTOPDomainClassification": "Classify the intent domain of the given utterance in task-oriented conversation",
    "MTOPIntentClassification": "Classify the intent of the given utterance in task-oriented conversation",
    "ToxicConversationsClassification": "Classify the given comments as either toxic or not toxic",
    "TweetSentimentExtractionClassification": (
        "Classify the sentiment of a given tweet as either positive, negative, or neutral"
    ),
    # clustering
    "ArxivClusteringP2P": "Identify the main and secondary category of Arxiv papers based on the titles and abstracts",
    "ArxivClusteringS2S": "Identify the main and secondary category of Arxiv papers based on the titles",
    "BiorxivClusteringP2P": "Identify the main category of Biorxiv papers based on the titles and abstracts",
    "BiorxivClusteringS2S": "Identify the main category of Biorxiv papers based on the titles",
    "MedrxivClusteringP2P": "Identify the main category of Medrxiv papers based on the titles and abstracts",
    "MedrxivClusteringS2S": "Identify the main category of Medrxiv papers based on the titles",
    "RedditClustering": "Identify the topic or theme of Reddit posts based on the titles",
    "RedditClusteringP2P": "Identify the topic or theme of Reddit posts based on the titles and posts",
    "StackExchangeClustering": "Identify the topic or theme of StackExchange posts based on the titles",
    "StackExchangeClusteringP2P": "Identify the topic or theme of StackExchange posts based on the given paragraphs",
    "TwentyNewsgroupsClustering": "Identify the topic or theme of the given news articles",
    # pair classification, reranking
    "SprintDuplicateQuestions": "Retrieve duplicate questions from Sprint forum",
    "TwitterSemEval2015": _TWEETS,
    "TwitterURLCorpus": _TWEETS,
    "AskUbuntuDupQuestions": "Retrieve duplicate questions from AskUbuntu forum",
    "MindSmallReranking": "Retrieve relevant news articles based on user browsing history",
    "SciDocsRR": "Given a title of a scientific paper, retrieve the titles of other relevant papers",
    "StackOverflowDupQuestions": "Retrieve duplicate questions from StackOverflow forum",
    # similarity, summarization
    **dict.fromkeys(_STS, _SIMILAR),
    "SummEval": "Given a news summary, retrieve other semantically similar summaries",
}

# published texts that differ from those of the other projects
_OWN_WORDS: dict[str, dict[str, str]] = {
    "e5": dict.fromkeys(_STS, f"{_SIMILAR}."),
    "llm2vec": {
        "AmazonCounterfactualClassification": (
            "Classify a given Amazon customer review text as either counterfactual or notcounterfactual"
        ),
    },
}

# mteb gives repaired and sampled versions of a task other names. They have the task's instruction.
_VERSION = re.compile(r"(HardNegatives)?(\.v\d+)?$")
_RENAMED = {"Touche2020Retrieval": "Touche2020", "SummEvalSummarization": "SummEval"}


def instructed_tasks() -> tuple[str, ...]:
    """Return the names of the MTEB tasks that have a published instruction."""
    return (*_RETRIEVAL, *_BOTH_SIDES)


def task_prompt(task_name: str, style: PromptStyle = "llm2vec", side: Role = "query") -> str:
    """Return the `prompt` that one of the three projects puts before the texts of an MTEB task.

    For example, `task_prompt("STS12")` is "Retrieve semantically similar text: ". A task outside
    the table gets mteb's own instruction for it in the form of the style, or none. The log says
    which.

    Args:
        task_name: mteb's name, for example "SciFact". Versions ("….v2", "…HardNegatives") count as
            their task.
        style: the project, see the top of this file.
        side: "query", "document", or "symmetric" for tasks with texts that have no sides.

    Returns:
        The whole prefix with the blank at its end. "" if there is no instruction.

    Raises:
        InputError: if the style is unknown.
    """
    if _table_name(task_name) is not None:
        return styled_prompt(task_name, style, side)
    try:
        metadata = load_mteb().get_task(task_name).metadata
    except (MissingExtra, KeyError):
        return styled_prompt(task_name, style, side)
    return styled_prompt(task_name, style, side, own=metadata.prompt, kind=metadata.type)


def styled_prompt(
    task_name: str,
    style: PromptStyle,
    side: Role,
    *,
    own: str | Mapping[str, str] | None = None,
    kind: str | None = None,
) -> str:
    """Return `task_prompt` for a caller that has the task's metadata.

    It also serves tasks that mteb does not list.

    Args:
        task_name: see `task_prompt`.
        style: see `task_prompt`.
        side: see `task_prompt`.
        own: the task's own instruction for both sides, or one by side, for example `{"query": "Find
            the answer"}`. It is used if the table has none.
        kind: the task's type in mteb's words, for example "Retrieval". Documents of retrieval tasks
            do not get `own`.

    Raises:
        InputError: if the style is unknown.
    """
    if style not in get_args(PromptStyle):
        raise InputError(
            f"prompts={style!r} is unknown; {meant(style, get_args(PromptStyle))}choose one of {', '.join(get_args(PromptStyle))}"
        )
    name = _table_name(task_name)
    if name is None:
        text = _own_instruction(own, side, kind)
        log.info(
            "%s: there is no %s instruction for this task; %s",
            task_name,
            style,
            f"using its own: {text}" if text else "using none",
        )
    elif side == "document" and name in _RETRIEVAL:
        text = ""
    else:
        text = _OWN_WORDS.get(style, {}).get(name) or (_RETRIEVAL | _BOTH_SIDES)[name]
    if not text:
        return ""
    return f"{text.rstrip('.: ')}: " if style == "llm2vec" else f"Instruct: {text}\nQuery: "


def _table_name(task_name: str) -> str | None:
    for name in (task_name, _VERSION.sub("", task_name)):
        name = _RENAMED.get(name, name)
        if name in _RETRIEVAL or name in _BOTH_SIDES:
            return name
    return None


def _own_instruction(own: str | Mapping[str, str] | None, side: Role, kind: str | None) -> str:
    if own is None or (side == "document" and kind is not None and kind.endswith("Retrieval")):
        return ""
    if isinstance(own, str):
        return own
    return own.get("document" if side == "document" else "query", "")


__getattr__ = old_names(__name__)
