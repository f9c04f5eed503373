"""Labeled pairs from the embedded text: a function's description and its code.

They are the training side of `stdlib.retrieval_task`: the same kinds of text, from functions that
the task does not hold out.
"""

from __future__ import annotations

import hashlib
import logging

from bothways.data.embedded.stdlib import HELD_OUT, Phrases, document, retrieval_task, visible_body
from bothways.data.embedded.stdlib_source import Function, read_library
from bothways.data.labeled.example import Example
from bothways.data.text_sources import EMBEDDED
from bothways.data.words import normal_form

_BODY_CHARACTERS = 40  # a shorter body (`return self._name`) is shared by many functions
log = logging.getLogger("bothways")


def training_pairs(held_out: float = HELD_OUT, seed: int = 0) -> list[Example]:
    """Return one example for each description, with all functions of that description.

    Args:
        held_out: the share of functions that the retrieval task holds out.
        seed: the seed of the retrieval task.

    Returns:
        Examples in the order of their hashes, so the first n are a fair sample of the library.
        Neither a description nor code of a held-out function occurs in them.

    Raises:
        SourceError: this Python has no source files of its library.
    """
    task = retrieval_task(held_out, seed)
    functions = read_library().functions
    hidden = [function for function in functions if function.name in task.corpus]
    phrases = Phrases(
        text for function in hidden for text in (function.summary, visible_body(function))
    )
    by_summary: dict[str, list[str]] = {}
    for function in functions:
        if (
            function.name in task.corpus
            or not _describes(function)
            or phrases.occur_in(function.summary)
        ):
            continue
        text = document(function)
        if not phrases.occur_in(text):
            by_summary.setdefault(function.summary, []).append(text)
    examples = [
        Example(summary, tuple(dict.fromkeys(texts)), task=EMBEDDED)
        for summary, texts in by_summary.items()
    ]
    log.info("%s: %d descriptions with the code they describe", EMBEDDED, len(examples))
    return sorted(
        examples,
        key=lambda example: hashlib.sha256(
            example.query.encode("utf-8", "surrogatepass")
        ).hexdigest(),
    )


def _describes(function: Function) -> bool:
    """Return whether the summary can be a query for the document.

    The document must not contain the summary, and the body must be long enough to identify it.
    """
    if not function.summary or function.trivial or len(visible_body(function)) < _BODY_CHARACTERS:
        return False
    return normal_form(function.summary) not in normal_form(document(function))
