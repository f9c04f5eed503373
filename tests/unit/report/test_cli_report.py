"""`bothways report` as a shell sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.cli.cli_runner import runner
from unit.report.material import write_results, write_run


def test_the_verb_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runner(capsys)
    first, second = write_results(tmp_path, 2)
    out = tmp_path / "report.html"
    done = run("report", f"old={first}", f"new={second}", write_run(tmp_path), "--out", out, "--baseline", "new", "--seed", "5")
    sentence, last = done.out.splitlines()
    assert done.code == 0 and sentence.startswith("old falls behind the baseline new by ")
    assert last == f"saved {out}; open it in a browser"
    page = out.read_text(encoding="utf-8")
    assert "minus the baseline <bdi>new</bdi>" in page
    assert "seed 5" in page


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runner(capsys)
    done = run("report", tmp_path / "none.json", "--out", tmp_path / "r.html")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "none.json: no such file" in done.err
    assert not (tmp_path / "r.html").exists()
