"""Pairs of names and comments: what they hold, and what they may not hold."""

from __future__ import annotations

import pytest

from bothways.data.embedded.stdlib import document, retrieval_task
from bothways.data.embedded.stdlib_names import _cut, comments, name_question, pairs_of
from bothways.data.embedded.stdlib_source import Function
from bothways.data.labeled.labeled_reader import read_examples
from bothways.data.text.readers import iter_texts
from bothways.errors import InputError


def function(name: str, body: str, docstring: str = "") -> Function:
    return Function(name, docstring, docstring, f"def {name.rsplit('.', 1)[-1]}(self):", body, False)


WAIT = function(
    "locks.Lock.wait_for_all", "    # wake up every thread that waits here\n    for each in self._waiting:\n        each.set()"
)
OPEN = function("files.openHandle", "    # short note\n    handle = self.system.open(self.path, 'rb')\n    return handle")
HIDDEN = function(
    "files.close_all",
    "    for handle in self.handles:\n        handle.close()\n        handle.forget()",
    "Close every handle that is open.",
)


def test_a_name_as_a_question() -> None:
    assert name_question("asyncio.locks.Condition.notify_all") == "notify all condition"
    assert name_question("xml.sax.SAXParser.parseFile") == "parse file saxparser"
    assert name_question("os.__init__") == "init os"


def test_comments_are_taken_out_of_their_code() -> None:
    assert list(comments(WAIT.code)) == [
        (
            "wake up every thread that waits here",
            "def wait_for_all(self):\n    for each in self._waiting:\n        each.set()",
        )
    ]
    assert list(comments(OPEN.code)) == []  # two words are no sentence
    two = "x = 1\n# the first of two lines\n# and the second one\ny = 2\n# another block of five words"
    assert [text for text, rest in comments(two)] == [
        "the first of two lines and the second one",
        "another block of five words",
    ]


def test_both_kinds_in_equal_number_and_nothing_hidden() -> None:
    copy = function("other.close_all_again", HIDDEN.body)  # the hidden body under another name
    told = function(
        "other.closer", "    # close every handle that is open\n    return [each.close() for each in self.all_of_them]"
    )
    rows = pairs_of([WAIT, OPEN, HIDDEN, copy, told], [HIDDEN])
    assert {row.query for row in rows} <= {
        "wake up every thread that waits here",
        "wait for all lock",
        "open handle files",
        "closer other",
    }
    assert sorted(row.query == "wake up every thread that waits here" for row in rows) == [False, True]
    assert all("forget" not in row.positives[0] for row in rows)
    assert rows == pairs_of([WAIT, OPEN, HIDDEN, copy, told], [HIDDEN])


def test_documents_are_as_long_as_those_of_the_task() -> None:
    long = function("m.f", "\n".join(f"    value_{number} = compute({number})" for number in range(100)))
    assert _cut(f"{long.name}\n{long.code}") == document(long)


def test_as_a_source_of_labeled_rows() -> None:
    rows = read_examples("python-stdlib:names")
    assert len(rows) > 1000 and {row.task for row in rows} == {"python-stdlib:names"}
    assert not {row.positives[0].split("\n")[0] for row in rows} & set(retrieval_task().corpus)
    assert read_examples("python-stdlib:names", limit=3) == rows[:3]


def test_it_has_no_texts() -> None:
    with pytest.raises(InputError, match="python-stdlib:names: holds pairs; for texts name python-stdlib"):
        list(iter_texts("python-stdlib:names"))
