"""A small share of tests/kill/kill.py: verbs that are killed and run again end as if nothing had
been.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "kill" / "kill.py"


@pytest.mark.parametrize("verbs", [["encode", "report"], ["train"]])
def test_killed_verbs_end_as_undisturbed_ones(verbs: list[str]) -> None:
    words = ["--kills", "1", "--points", "3", "--verbs", *verbs, *(["--only-kills"] if verbs == ["train"] else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "all as they should be" in done.stdout


def test_pages_of_two_minutes_count_as_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    from compare import digest

    page = tmp_path / "r.html"
    for form in ("2026-05-01 {} UTC", "2026-05-01T{}:30+00:00"):
        seen = set()
        for clock in ("23:59", "00:00"):
            page.write_text(f'<p class="made">{form.format(clock)}</p>')
            seen.add(str(digest(page)))
        assert len(seen) == 1, form
