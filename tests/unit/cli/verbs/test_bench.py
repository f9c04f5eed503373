"""`bothways bench` refuses what it cannot use before any library starts. tests/unit/bench runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tiny import SENTENCES, tiny_llama
from unit.cli.cli_runner import runner


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--peers", "llamacpp"], "did you mean"),
        (["--workloads", "query"], "is not one of queries, short, paragraphs, documents"),
        (["--workloads", "queries, shorts"], "--workloads shorts: is not one of"),
        (["--dtype", "int4"], "cannot be used"),
        (["--texts", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_wrong_options_are_one_line(options: list[str], said: str, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(SENTENCES))
    base = tiny_llama(tmp_path / "base")
    done = runner(capsys)("bench", base, "--texts", tmp_path / "texts.txt", "--out", tmp_path / "out.json", *options)
    assert done.code == 2 and said in done.err and done.err.count("error:") == 1
    assert not (tmp_path / "out.json").exists()
