"""Labelled pairs from the embedded text: a function's description and its code, with nothing to download.

The counterpart of `stdlib.retrieval_task` for training: the same kinds of text, from functions that the task does not hold out.
"""

from __future__ import annotations

import hashlib
import logging

from bothways.data.embedded.stdlib import HELD_OUT, Phrases, document, retrieval_task
from bothways.data.embedded.stdlib_source import Function, read_library
from bothways.data.labeled.example import Example
from bothways.data.sources import EMBEDDED
from bothways.data.words import normal_form

_BODY_CHARACTERS = 40  # a shorter body (`return self._name`) is shared by many functions
log = logging.getLogger("bothways")


def training_pairs(held_out: float = HELD_OUT, seed: int = 0) -> list[Example]:
    """One example a description: the description as query, every function of that description as positive.

    Args:
        held_out, seed: of the retrieval task that stays unseen.

    Returns:
        Examples in the order of their hashes, a fair sample of the library from the first one on. Neither a description nor code
        of a held-out function occurs in them.

    Raises:
        SourceError: this Python carries no source of its library.
    """
    task = retrieval_task(held_out, seed)
    functions = read_library().functions
    hidden = [function for function in functions if function.name in task.corpus]
    phrases = Phrases(text for function in hidden for text in (function.summary, _body(function)))
    by_summary: dict[str, list[str]] = {}
    for function in functions:
        if function.name in task.corpus or not _describes(function) or phrases.occur_in(function.summary):
            continue
        text = document(function)
        if not phrases.occur_in(text):
            by_summary.setdefault(function.summary, []).append(text)
    examples = [Example(summary, tuple(dict.fromkeys(texts)), task=EMBEDDED) for summary, texts in by_summary.items()]
    log.info("%s: %d descriptions with the code they describe", EMBEDDED, len(examples))
    return sorted(examples, key=lambda example: hashlib.sha256(example.query.encode("utf-8", "surrogatepass")).hexdigest())


def _body(function: Function) -> str:
    """What of the function's body its document shows."""
    return document(function)[len(function.name) + 1 + len(function.signature) :]


def _describes(function: Function) -> bool:
    """Whether the summary is a query that the document does not print word for word, and the body long enough to be told apart."""
    if not function.summary or function.trivial or len(_body(function)) < _BODY_CHARACTERS:
        return False
    return normal_form(function.summary) not in normal_form(document(function))
