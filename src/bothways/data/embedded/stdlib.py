"""The embedded text `python-stdlib`: training text and a retrieval task, with nothing to download.

The task is one that programmers have: find a function by its description. A query is the first
paragraph of a function's docstring. A document is the function's qualified name, signature and body
without the docstring. Names stay, because finding `shlex.split` through the word "split" is
legitimate. BM25 profits most from that, and it is the baseline to beat. Only the answer is removed:

- the whole docstring is cut out of the document, not only the summary
- a held-out function gives no training text, neither code nor docstring
- a training text that contains a held-out summary or body from elsewhere (an override, a copied
  helper) is left out as well

Training text and task still share the other methods of a class and the library's vocabulary, as in
any corpus of one domain. The split hashes qualified names, so it does not depend on the order of
files.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from bothways.data.embedded.stdlib_source import Function, Library, paragraphs, read_library
from bothways.errors import InputError

HELD_OUT = 0.25
"""The share of functions that are held out: about 1,000 documents in Python 3.11."""

MAX_DOCUMENTS = 1500
"""The most documents of the task, so that it takes seconds on two cores."""

MAX_QUERIES = 400
"""The most queries of the task."""

DOCUMENT_CHARACTERS = 600
"""The length of a document, about 200 tokens. Three of four functions fit."""

TRAINING_CHARACTERS = 2000
"""The length of a function's code as a training document."""

_BODY_CHARACTERS = 40  # many functions share a shorter body, such as `return self._name`
_PHRASE_WORDS = 4
_WORDS = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'`(*])")


@dataclass(frozen=True)
class RetrievalTask:
    """A retrieval task in BEIR's form.

    Attributes:
        queries: query id -> text.
        corpus: document id -> text.
        qrels: query id -> {document id: relevance ≥ 1}. Every query has at least one.
    """

    queries: dict[str, str]
    corpus: dict[str, str]
    qrels: dict[str, dict[str, int]]


def retrieval_task(held_out: float = HELD_OUT, seed: int = 0) -> RetrievalTask:
    """Return the task to find held-out functions by their descriptions.

    Args:
        held_out: the share of functions to hold out, in (0, 1). At most MAX_DOCUMENTS are taken.
        seed: selects the functions. `training_texts` with the same `held_out` and `seed` keeps them
            out of training.

    Returns:
        Up to MAX_DOCUMENTS documents of at most DOCUMENT_CHARACTERS, and up to MAX_QUERIES queries.
        All documents are unseen in training, because a mixture could be told by what a model has
        seen. Functions with the same summary are all relevant.

    Raises:
        InputError: `held_out` is out of range.
        SourceError: this Python has no source files of its library.
    """
    functions = _held_out(held_out, seed)
    by_summary: dict[str, list[Function]] = {}
    for function in functions:
        by_summary.setdefault(_normal(function.summary), []).append(function)
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for same in list(by_summary.values())[:MAX_QUERIES]:
        # not the id of the document, because evaluators drop a hit that has the id of the query
        query = f"q:{same[0].name}"
        queries[query] = same[0].summary
        qrels[query] = {function.name: 1 for function in same}
    return RetrievalTask(
        queries, {function.name: document(function) for function in functions}, qrels
    )


def training_texts(held_out: float = HELD_OUT, seed: int = 0) -> list[str]:
    """Return documents for MNTP: docstrings and code.

    The code of a function is cut at TRAINING_CHARACTERS. Nothing that `retrieval_task(held_out,
    seed)` holds out occurs in the documents. They are in the order of their hashes, so the first n
    are a fair sample of the library and not the modules that begin with "a".
    """
    library, names, excluded = _training(held_out, seed)
    texts = list(library.docstrings.values())
    functions = [function for function in library.functions if function.name not in names]
    texts += [function.docstring for function in functions]
    texts += [document(function, TRAINING_CHARACTERS) for function in _with_own_body(functions)]
    return _finish(texts, excluded)


def training_sentences(held_out: float = HELD_OUT, seed: int = 0) -> list[str]:
    """Return short texts for SimCSE, of both kinds that the task compares.

    These are sentences of docstrings, and code in the form of the task's documents. Nothing held
    out occurs in them. They are in the order of their hashes.
    """
    library, names, excluded = _training(held_out, seed)
    texts: list[str] = []
    for docstring in library.docstrings.values():
        texts += _sentences(docstring)
    functions = [function for function in library.functions if function.name not in names]
    for function in functions:
        texts += _sentences(function.docstring)
    texts += [document(function) for function in _with_own_body(functions)]
    return _finish(texts, excluded)


def document(function: Function, characters: int = DOCUMENT_CHARACTERS) -> str:
    """Return a function as a document: qualified name, signature and body.

    It is cut at the end of a line to at most `characters`.
    """
    text = f"{function.name}\n{function.code}"
    if len(text) <= characters:
        return text
    cut = text.rfind("\n", 0, characters + 1)
    return text[: cut if cut > len(function.name) else characters].rstrip()


def _held_out(share: float, seed: int) -> list[Function]:
    """Return the held-out functions, in the order of the hash that selected them."""
    if not 0 < share < 1:
        raise InputError(f"held_out: {share!r}; expected a share between 0 and 1")
    limit = f"{int(share * (1 << 64)):016x}"  # the first 64 bits of a hash are uniform
    describable = [function for function in read_library().functions if _is_describable(function)]
    keys = {function.name: _hash(f"{seed}:{function.name}") for function in describable}
    chosen = [function for function in _with_own_body(describable) if keys[function.name] < limit]
    return sorted(chosen, key=lambda function: keys[function.name])[:MAX_DOCUMENTS]


def _with_own_body(functions: Iterable[Function]) -> list[Function]:
    """Return the functions whose body is long enough and differs from all before it.

    A hundred codecs repeat the same four lines.
    """
    first: dict[str, Function] = {}
    for function in functions:
        if _says_enough(function.body):
            first.setdefault(_normal(function.body), function)
    return list(first.values())


def visible_body(function: Function) -> str:
    """Return the part of the body that the document shows, "" if the signature fills it."""
    return document(function)[len(function.name) + 1 + len(function.signature) :]


def _is_describable(function: Function) -> bool:
    """Return whether the summary can be a query for the document.

    Both must be long enough, and the document must not contain the summary.
    """
    if not function.summary or function.trivial or not _says_enough(visible_body(function)):
        return False
    # some docstrings begin with the parameters, and some code repeats its docstring in a comment
    return f" {_normal(function.summary)} " not in f" {_normal(document(function))} "


def _says_enough(body: str) -> bool:
    normal = _normal(body)
    return len(normal) >= _BODY_CHARACTERS and len(normal.split()) >= _PHRASE_WORDS


@functools.lru_cache(maxsize=4)
def _training(held_out: float, seed: int) -> tuple[Library, frozenset[str], Phrases]:
    functions = _held_out(held_out, seed)
    excluded = Phrases([f.summary for f in functions] + [visible_body(f) for f in functions])
    return read_library(), frozenset(f.name for f in functions), excluded


def _finish(texts: Iterable[str], excluded: Phrases) -> list[str]:
    unique = {text for text in texts if len(_WORDS.findall(text)) >= _PHRASE_WORDS}
    return sorted((text for text in unique if not excluded.occur_in(text)), key=_hash)


def _sentences(docstring: str) -> list[str]:
    return [
        sentence
        for paragraph in paragraphs(docstring)
        for sentence in _SENTENCE_END.split(paragraph)
    ]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _normal(text: str) -> str:
    """Return the words of a text in lower case, separated by single spaces."""
    return " ".join(_WORDS.findall(text.casefold()))


class Phrases:
    """Holds phrases of at least four words that may not occur in a text.

    Line breaks, punctuation and case make no difference. The phrases are indexed by their first
    four words, so a text costs one look-up for each word and not one search for each phrase.
    """

    def __init__(self, phrases: Iterable[str]) -> None:
        self._index: dict[tuple[str, ...], list[str]] = {}
        for phrase in phrases:
            words = _normal(phrase).split()
            if len(words) < _PHRASE_WORDS:
                raise ValueError(f"a phrase needs at least {_PHRASE_WORDS} words: {phrase!r}")
            self._index.setdefault(tuple(words[:_PHRASE_WORDS]), []).append(f" {' '.join(words)} ")

    def occur_in(self, text: str) -> bool:
        """Return whether any of the phrases occurs in `text`, word for word."""
        normal = _normal(text)
        words = normal.split()
        padded = f" {normal} "
        starts = {
            tuple(words[i : i + _PHRASE_WORDS]) for i in range(len(words) - _PHRASE_WORDS + 1)
        }
        return any(phrase in padded for start in starts for phrase in self._index.get(start, ()))
