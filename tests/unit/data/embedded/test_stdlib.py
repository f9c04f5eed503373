"""The retrieval task and the training text of the standard library share no answer."""

import os
import random
import re
import subprocess
import sys

import pytest

from bothways.data.embedded import stdlib
from bothways.data.embedded.stdlib_source import paragraphs, read_library
from bothways.errors import InputError


@pytest.fixture(scope="module")
def task():
    return stdlib.retrieval_task()


@pytest.fixture(scope="module")
def training():
    return {"texts": stdlib.training_texts(), "sentences": stdlib.training_sentences()}


def functions():
    return {function.name: function for function in read_library().functions}


def words(text):
    return " ".join(re.findall(r"\w+", text.casefold()))


def test_task_is_sound(task):
    assert 300 <= len(task.queries) <= stdlib.MAX_QUERIES
    assert 700 <= len(task.corpus) <= stdlib.MAX_DOCUMENTS  # 1,013 in Python 3.11; the library's size varies with the version
    assert task.qrels.keys() == task.queries.keys()
    assert all(relevant and relevant.keys() <= task.corpus.keys() for relevant in task.qrels.values())
    assert not task.queries.keys() & task.corpus.keys()
    assert max(map(len, task.corpus.values())) <= stdlib.DOCUMENT_CHARACTERS
    assert len(set(map(words, task.queries.values()))) == len(task.queries)
    assert len(set(task.corpus.values())) == len(task.corpus)


def test_relevance_is_the_summary(task):
    """Brute force over all pairs: a document is relevant exactly where its function's summary is
    the query.
    """
    known = functions()
    for query, text in task.queries.items():
        expected = {name for name in task.corpus if words(known[name].summary) == words(text)}
        assert task.qrels[query].keys() == expected


def test_documents_do_not_hold_their_docstring(task):
    for query, relevant in task.qrels.items():
        for name in relevant:
            code = task.corpus[name].partition("\n")[2]
            assert f" {words(task.queries[query])} " not in f" {words(code)} "


def test_nothing_held_out_is_trained_on(task, training):
    """By brute force over the joined text: no summary, no body, no name of any document of the
    corpus.
    """
    known = functions()
    for texts in training.values():
        everything = " \n ".join(f" {words(text)} " for text in texts)
        titles = {text.split("\n")[0] for text in texts}
        for name, document in task.corpus.items():
            assert f" {words(known[name].summary)} " not in everything, name
            visible = document[len(name) + 1 + len(known[name].signature) :]
            assert f" {words(visible)} " not in everything, name
            assert name not in titles


def test_held_out_docstrings_are_left_out_whole(task, training):
    """Not only the summary: a later paragraph may be trained on only where another docstring has it
    too.
    """
    library = read_library()
    held = [function.docstring for function in library.functions if function.name in task.corpus]
    free = [function.docstring for function in library.functions if function.name not in task.corpus]
    shared = {words(p) for docstring in [*free, *library.docstrings.values()] for p in re.split(r"[.!?]\s|\n\s*\n", docstring)}
    own = {words(p) for docstring in held for p in paragraphs(docstring)} - shared
    assert len(own) > 1000
    assert not own & {words(text) for texts in training.values() for text in texts} - shared


def test_training_texts_are_plenty_and_fairly_ordered(training):
    assert len(training["texts"]) > 8000 and len(training["sentences"]) > 12_000
    for texts in training.values():
        assert len(set(texts)) == len(texts) and all(text.strip() for text in texts)
        first = sum(text.split(".")[0] < "m" for text in texts[:1000] if "\ndef " in text)
        assert 0.2 < first / sum("\ndef " in text for text in texts[:1000]) < 0.8  # not in alphabetical order
    code = sum("\ndef " in text for text in training["sentences"]) / len(training["sentences"])
    assert 0.2 < code < 0.8  # both kinds


def test_split_does_not_depend_on_order(task, monkeypatch):
    """Shuffle the library: each function stays on its side."""
    library = read_library()
    shuffled = list(library.functions)
    random.Random(0).shuffle(shuffled)
    monkeypatch.setattr(stdlib, "read_library", lambda: type(library)(tuple(shuffled), library.docstrings))
    again = stdlib.retrieval_task()
    # functions that share a body are represented by the first one met, so that a handful may differ
    assert len(again.corpus.keys() ^ task.corpus.keys()) < 0.05 * len(task.corpus)


def test_split_follows_its_arguments(task):
    other = stdlib.retrieval_task(seed=1)
    assert 0.15 < len(other.corpus.keys() & task.corpus.keys()) / len(task.corpus) < 0.35  # independent: a quarter
    small = stdlib.retrieval_task(held_out=0.05)
    assert small.corpus.keys() < task.corpus.keys()
    assert len(stdlib.training_texts(held_out=0.05)) > len(stdlib.training_texts())
    for share in (0, 1, -0.5, float("nan")):
        with pytest.raises(InputError, match="held_out"):
            stdlib.retrieval_task(held_out=share)


def test_same_in_another_process(task, training):
    """Also under another hash seed."""
    from bothways.data.fingerprint import fingerprint_texts

    code = (
        "from bothways.data.embedded import stdlib as s; from bothways.data.fingerprint import fingerprint_texts as f; "
        "t = s.retrieval_task();"
        "print(f([*t.queries, *t.corpus.values()]), f(s.training_texts()), f(s.training_sentences()))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "7"}
    )
    expected = [[*task.queries, *task.corpus.values()], training["texts"], training["sentences"]]
    assert out.stdout.split() == [fingerprint_texts(texts) for texts in expected]
