"""A type checker knows what `encode` and its siblings return (typing_of_encode.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
FILE = Path(__file__).with_name("typing_of_encode.py")


def mypy(file: Path) -> list[str]:
    """Run mypy on a file, and return its errors. Errors in the library itself are for `make types`.

    The options are those of `make types`, so its cache is used.
    """
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--show-absolute-path", str(file)]
    environment = {**os.environ, "MYPYPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    # the cache keeps the messages of a file of the same content, with the folder of the run that made them
    return [line for line in done.stdout.splitlines() if f"/{file.name}:" in line.split(" ")[0]]


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.3.0", reason="older stubs of numpy have no default for the types of ndarray"
)
def test_calls_have_the_types_of_their_arguments(tmp_path: Path) -> None:
    assert mypy(FILE) == []
    # a wrong claim is an error, so the file above is not empty words
    wrong = FILE.read_text(encoding="utf-8").replace('encoder.encode("a cat"), Vector)', 'encoder.encode("a cat"), Tensor)')
    (tmp_path / "wrong.py").write_text(wrong, encoding="utf-8")
    (error,) = [line for line in mypy(tmp_path / "wrong.py") if ": error: " in line]
    assert 'Expression is of type "ndarray[tuple[int], dtype[Any]]", not "Tensor"' in error
