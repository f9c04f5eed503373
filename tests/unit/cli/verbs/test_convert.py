"""`bothways convert`: every option arrives at `bothways.convert`, and what is refused before the
model is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bothways.encoder import convert as module
from bothways.errors import InputError
from unit.cli.cli_runner import Run, runner

DEFAULTS = {
    "direction": "bidirectional",
    "pooling": "mean",
    "windows": "lift",
    "max_length": "auto",
    "normalize": False,
    "add_bos": False,
    "add_eos": False,
    "pool_bos": True,
    "adapter": None,
    "rope": None,
    "dtype": "float32",
    "device": "cpu",
}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments of `bothways.convert`, which does nothing."""
    seen: dict[str, Any] = {}

    def convert(base: str, **options: Any) -> None:
        seen.update({"base": base, **options})
        raise InputError("seen")

    monkeypatch.setattr(module, "convert", convert)
    return seen


def test_defaults(run: Run, given: dict[str, Any], tmp_path: Path) -> None:
    done = run("convert", "some/base", "--out", tmp_path / "out")
    assert (done.code, done.err.strip()) == (2, "error: seen")
    assert given == {"base": "some/base", **DEFAULTS}


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        (("--direction", "causal", "--pooling", "last"), {"direction": "causal", "pooling": "last"}),
        (("--windows", "keep", "--max-length", "64"), {"windows": "keep", "max_length": 64}),
        (("--normalize", "--add-bos", "--add-eos"), {"normalize": True, "add_bos": True, "add_eos": True}),
        (("--no-pool-bos",), {"pool_bos": False}),
        (("--adapter", "a/b", "--dtype", "bfloat16"), {"adapter": "a/b", "dtype": "bfloat16"}),
        (("--context", "1024"), {"rope": {"context": 1024}}),
        (
            ("--context", "1024", "--rope", "yarn", "--factor", "2.5"),
            {"rope": {"type": "yarn", "context": 1024, "factor": 2.5}},
        ),
    ],
)
def test_options_arrive(
    run: Run, given: dict[str, Any], tmp_path: Path, words: tuple[str, ...], changed: dict[str, Any]
) -> None:
    run("convert", "some/base", "--out", tmp_path / "out", *words)
    assert given == {"base": "some/base", **DEFAULTS, **changed}


@pytest.mark.parametrize(("words", "option"), [(("--rope", "yarn"), "rope"), (("--factor", "2"), "factor")])
def test_positions_need_a_context(run: Run, given: dict[str, Any], tmp_path: Path, words: tuple[str, ...], option: str) -> None:
    done = run("convert", "some/base", "--out", tmp_path / "out", *words)
    assert done.code == 2
    assert done.err.strip() == f"error: --{option}: needs --context, the number of tokens to stretch to"
    assert given == {}


def test_an_existing_folder_is_refused_first(run: Run, given: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("x")
    done = run("convert", "some/base", "--out", tmp_path / "out")
    assert done.code == 2 and "out" in done.err
    assert given == {}
