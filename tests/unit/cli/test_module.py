"""`python -m bothways` is the command line, which knows its version."""

from __future__ import annotations

import subprocess
import sys

import bothways


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bothways", "--version"], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == f"bothways {bothways.__version__}"
