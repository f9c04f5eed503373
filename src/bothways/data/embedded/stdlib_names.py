"""Pairs that source code holds by itself, from the embedded text: names and comments.

Nobody labels such pairs, and no description of a function takes part in them. There are two kinds,
in equal number:

    name      "notify all condition" -> the code of the method, every second time without its name
    comment   the text of a comment -> the function that it is in, without that comment

They come from the functions that `stdlib.retrieval_task` does not hold out.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Iterator, Sequence

from bothways.data.embedded.stdlib import (
    DOCUMENT_CHARACTERS,
    HELD_OUT,
    Phrases,
    document,
    retrieval_task,
    visible_body,
)
from bothways.data.embedded.stdlib_pairs import training_pairs
from bothways.data.embedded.stdlib_source import Function, read_library
from bothways.data.labeled.example import Example
from bothways.data.text_sources import EMBEDDED_NAMES

_COMMENT_WORDS = 5  # a shorter comment rarely says what the code does
_COMMENT_CHARACTERS = 300
_COMMENTS = 2  # of one function, at most
_BODY_CHARACTERS = 40  # shorter bodies, such as `return self._name`, are shared by many
_WORDS = re.compile(r"[a-z]{3,} [a-z]{2,}")
log = logging.getLogger("bothways")


def embedded_pairs(name: str) -> list[Example]:
    """Return the pairs of `python-stdlib`, or of `python-stdlib:names`."""
    return name_pairs() if name == EMBEDDED_NAMES else training_pairs()


def name_pairs(held_out: float = HELD_OUT, seed: int = 0) -> list[Example]:
    """Return the pairs of Python's library, in a shuffled order.

    Args:
        held_out: the share of functions that the retrieval task holds out.
        seed: the seed of the retrieval task, and of the choices.

    Returns:
        6,690 examples in Python 3.11. Neither a description nor code of a held-out function
        occurs in them.

    Raises:
        SourceError: this Python has no source files of its library.
    """
    corpus = retrieval_task(held_out, seed).corpus
    functions = read_library().functions
    hidden = [function for function in functions if function.name in corpus]
    made = pairs_of(functions, hidden, seed)
    log.info("%s: %d names and comments with their code", EMBEDDED_NAMES, len(made))
    return made


def pairs_of(
    functions: Sequence[Function], hidden: Sequence[Function], seed: int = 0
) -> list[Example]:
    """Return the pairs of some functions, in a shuffled order.

    Args:
        functions: what the pairs are made of. Hidden ones among them are left out.
        hidden: functions whose summary and code may not occur in any pair.
        seed: the seed of the choices.
    """
    chance = random.Random(seed)
    names = {function.name for function in hidden}
    phrases = Phrases(text for each in hidden for text in (each.summary, visible_body(each)))
    named: list[tuple[str, str]] = []
    commented: list[tuple[str, str]] = []
    for function in functions:
        if function.name in names or len(function.body) < _BODY_CHARACTERS:
            continue
        shown = document(function)
        question = name_question(function.name)
        if len(question.split()) > 1:
            named.append((question, shown if chance.random() < 0.5 else shown.split("\n", 1)[1]))
        found = [(text, _cut(f"{function.name}\n{rest}")) for text, rest in comments(function.code)]
        chance.shuffle(found)
        commented += found[:_COMMENTS]
    clean = [
        [row for row in rows if not any(map(phrases.occur_in, row))] for rows in (named, commented)
    ]
    fewest = min(map(len, clean))
    rows = [row for kind in clean for row in chance.sample(kind, fewest)]
    chance.shuffle(rows)
    return [Example(query, (positive,), task=EMBEDDED_NAMES) for query, positive in rows]


def name_question(name: str) -> str:
    """Return the words of a method's name and its class, as somebody would type them.

    For example, "asyncio.locks.Condition.notify_all" gives "notify all condition".
    """
    words: list[str] = []
    for part in reversed(name.split(".")[-2:]):
        words += re.sub(r"([a-z])([A-Z])", r"\1 \2", part).replace("_", " ").lower().split()
    return " ".join(words)


def comments(code: str) -> Iterator[tuple[str, str]]:
    """Yield the text of each block of comment lines that is a sentence, and the code without it."""
    lines = code.split("\n")
    start = 0
    while start < len(lines):
        end = start
        while end < len(lines) and lines[end].lstrip().startswith("#"):
            end += 1
        text = " ".join(line.strip().lstrip("# ") for line in lines[start:end]).strip()
        if len(text.split()) >= _COMMENT_WORDS and _WORDS.search(text):
            yield text[:_COMMENT_CHARACTERS], "\n".join(lines[:start] + lines[end:])
        start = max(end, start + 1)


def _cut(text: str) -> str:
    """Return the text up to the last whole line within the length of the task's documents.

    Unlike `stdlib.document` it keeps blank lines at the end, with which the published figures were
    measured.
    """
    if len(text) <= DOCUMENT_CHARACTERS:
        return text
    end = text.rfind("\n", 0, DOCUMENT_CHARACTERS + 1)
    return text[: end if end > 0 else DOCUMENT_CHARACTERS]
