"""Nothing that others wrote acts on the terminal, and an error is one bounded line."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from bothways.printable import LONGEST, PrintableFormatter, printable, printable_line
from tiny import tiny_llama
from unit.cli.cli_runner import Run, runner

# what a terminal acts on: C0, DEL, C1, separators, and what turns text around
CODES = (*range(9), *range(11, 32), *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
ACTING = [chr(code) for code in CODES]
ATTACK = "river \x1b]0;title\x07 \x1b[2J \x9b31m \u202e turned \u2028 next \x85 \r over \x00"


@pytest.fixture
def run(capsys) -> Run:
    return runner(capsys)


def is_clean(shown: str) -> bool:
    return not set(ACTING) & set(shown)


@pytest.mark.parametrize("character", ACTING)
def test_each_acting_character_is_replaced(character: str) -> None:
    assert printable(f"a{character}b") == "a\ufffdb"
    assert is_clean(printable_line(f"a{character}b"))


def test_what_people_write_stays() -> None:
    text = "naïve עברית\u200f 今日は 🙂‍🔥 e\u0301 a\tb\nc"
    assert printable(text) == text


def test_a_long_line_keeps_its_beginning_and_its_end() -> None:
    for size in (601, 2_000, 50_000_000):
        line = printable_line("file.csv, row 3: " + "x" * size + " name one of them")
        assert len(line) <= LONGEST
        assert line.startswith("file.csv, row 3: ") and line.endswith(" name one of them") and " … " in line
    assert printable_line("a\r\n b\n\nc") == "a b c"
    assert printable_line("x" * LONGEST) == "x" * LONGEST


def test_a_log_line_is_printable() -> None:
    record = logging.LogRecord("bothways", logging.INFO, "", 0, "read %s", (ATTACK,), None)
    assert is_clean(PrintableFormatter("%(message)s").format(record))


def test_search_shows_a_text_and_lets_it_do_nothing(tmp_path: Path, run: Run) -> None:
    base = tiny_llama(tmp_path / "base")
    texts = tmp_path / "texts.jsonl"
    texts.write_text("\n".join(json.dumps({"text": ATTACK + str(i)}) for i in range(3)), encoding="utf-8")
    done = run("search", base, texts, "river \x1b[2J")
    assert done.code == 0 and "river" in done.out
    assert is_clean(done.out) and is_clean(done.err)


def test_names_of_columns_and_files_stay_in_one_line(tmp_path: Path, run: Run) -> None:
    base = tiny_llama(tmp_path / "base")
    wide = tmp_path / "wide.csv"
    wide.write_text(",".join(f"column{i}" for i in range(3000)) + "\n" + ",".join("1" * 3000) + "\n", encoding="utf-8")
    columns = tmp_path / "columns.jsonl"
    columns.write_text(json.dumps({ATTACK: 1, "b": 2}) + "\n", encoding="utf-8")
    named = tmp_path / "a\x1b[2Jb\nc.txt"
    named.write_bytes(b"\xff\xfe\x00broken\xff")
    for source in (wide, columns, named, tmp_path / "no\x1b[2J\nsuch.txt"):
        done = run("encode", base, source, "--out", tmp_path / "v.npy")
        assert done.code == 2, source
        assert done.err.count("\n") == 1 and len(done.err) <= LONGEST + 1 and is_clean(done.err), done.err[:300]
