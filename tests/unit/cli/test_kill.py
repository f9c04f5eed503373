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
