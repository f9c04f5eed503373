"""Pairs of names and comments: what they hold, and what they may not hold."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import bothways as bw
from bothways.data.embedded.stdlib import document
from bothways.data.embedded.stdlib_source import Function
from bothways.search.bm25_ranker import BM25
from tiny import tiny_llama

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture
def code_pairs() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("code_pairs")
    finally:
        sys.path.remove(str(FOLDER))
        for name in ("code_pairs", "results_page", "seeds"):
            sys.modules.pop(name, None)


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


def test_a_name_as_a_question(code_pairs: ModuleType) -> None:
    assert code_pairs.name_question("asyncio.locks.Condition.notify_all") == "notify all condition"
    assert code_pairs.name_question("xml.sax.SAXParser.parseFile") == "parse file saxparser"
    assert code_pairs.name_question("os.__init__") == "init os"


def test_comments_are_taken_out_of_their_code(code_pairs: ModuleType) -> None:
    assert list(code_pairs.comments(WAIT.code)) == [
        (
            "wake up every thread that waits here",
            "def wait_for_all(self):\n    for each in self._waiting:\n        each.set()",
        )
    ]
    assert list(code_pairs.comments(OPEN.code)) == []  # two words are no sentence
    two = "x = 1\n# the first of two lines\n# and the second one\ny = 2\n# another block of five words"
    assert [text for text, rest in code_pairs.comments(two)] == [
        "the first of two lines and the second one",
        "another block of five words",
    ]


def test_both_kinds_in_equal_number_and_nothing_hidden(code_pairs: ModuleType) -> None:
    copy = function("other.close_all_again", HIDDEN.body)  # the hidden body under another name
    told = function(
        "other.closer", "    # close every handle that is open\n    return [each.close() for each in self.all_of_them]"
    )
    rows = code_pairs.pairs([WAIT, OPEN, HIDDEN, copy, told], [HIDDEN])
    assert {row["query"] for row in rows} <= {
        "wake up every thread that waits here",
        "wait for all lock",
        "open handle files",
        "closer other",
    }
    assert sorted(row["query"] == "wake up every thread that waits here" for row in rows) == [False, True]
    assert all("forget" not in row["positive"] for row in rows)
    assert rows == code_pairs.pairs([WAIT, OPEN, HIDDEN, copy, told], [HIDDEN])


def test_documents_are_as_long_as_those_of_the_task(code_pairs: ModuleType) -> None:
    long = function("m.f", "\n".join(f"    value_{number} = compute({number})" for number in range(100)))
    assert code_pairs.cut(f"{long.name}\n{long.code}") == document(long)


def test_the_library_has_thousands(code_pairs: ModuleType, tmp_path: Path) -> None:
    code_pairs.write_pairs(tmp_path / "pairs.jsonl")
    assert len((tmp_path / "pairs.jsonl").read_text(encoding="utf-8").splitlines()) > 1000


def test_a_row_is_trained_scored_and_kept(code_pairs: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tiny_llama(tmp_path / "llama")
    words = ["--base", str(base), "--steps", "1", "--out", str(tmp_path / "out"), "--results", str(tmp_path / "pages")]
    code_pairs.main(words)
    page = (tmp_path / "pages" / "code-pairs.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[1:]] == ["| BM25", "| pairs of names and comments"]
    bm25 = bw.evaluate(BM25(), "stdlib")["stdlib"]
    assert rows[1][1:3] == [f"{100 * bm25[name]:.1f}" for name in ("ndcg@10", "recall@10")]
    capsys.readouterr()
    before = (tmp_path / "out" / "steps1-seed0" / "model.safetensors").stat().st_mtime_ns
    code_pairs.main(words)  # nothing is trained again
    assert (tmp_path / "out" / "steps1-seed0" / "model.safetensors").stat().st_mtime_ns == before
