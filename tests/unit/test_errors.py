"""Errors a user meets: one family, each with the builtin class that a caller would expect."""

from __future__ import annotations

import pytest

from bothways import errors


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.InputError, ValueError),
        (errors.SourceError, OSError),
        (errors.OutputError, OSError),
        (errors.UnsupportedFamily, ValueError),
        (errors.DirectionError, RuntimeError),
    ],
)
def test_one_family(kind: type[Exception], builtin: type[Exception]) -> None:
    error = kind("file.jsonl, row 3: no text")
    assert isinstance(error, errors.BothwaysError)
    assert isinstance(error, builtin)
    assert str(error) == "file.jsonl, row 3: no text"


def test_a_missing_extra_says_its_install_line() -> None:
    error = errors.MissingExtra("gguf", "gguf", "reading a .gguf file")
    assert isinstance(error, ImportError)
    assert str(error) == "reading a .gguf file needs gguf, which is not installed; run: pip install 'bothways[gguf]'"


def test_every_extra_named_exists() -> None:
    """An install line that pip does not know would be worse than none."""
    import re
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    declared = set(re.findall(r"^(\w+) = \[", (root / "pyproject.toml").read_text().split("optional-dependencies]")[1], re.M))
    for path in (root / "src").rglob("*.py"):
        for extra in re.findall(r"MissingExtra\(\s*\"[^\"]+\",\s*\"([^\"]+)\"", path.read_text(encoding="utf-8")):
            assert extra in declared, f"{path}: {extra}"
