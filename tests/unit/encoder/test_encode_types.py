"""A type checker knows what `encode` and its siblings return (typing_of_encode.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FILE = Path(__file__).with_name("typing_of_encode.py")


def mypy(file: Path) -> str:
    """Run mypy on a file. Errors in the library itself are for `make types`."""
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--follow-imports", "silent"]
    environment = {**os.environ, "MYPYPATH": str(ROOT / "src")}
    done = subprocess.run([*command, str(file)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    return done.stdout + done.stderr


def test_calls_have_the_types_of_their_arguments(tmp_path: Path) -> None:
    assert mypy(FILE).startswith("Success")
    # a wrong claim is an error, so the file above is not empty words
    wrong = FILE.read_text(encoding="utf-8").replace('encoder.encode("a cat"), Vector)', 'encoder.encode("a cat"), Tensor)')
    (tmp_path / "wrong.py").write_text(wrong, encoding="utf-8")
    assert 'Expression is of type "ndarray[tuple[int], dtype[Any]]", not "Tensor"' in mypy(tmp_path / "wrong.py")
