"""llama.cpp in a process of its own: its vectors among other lines, and its reason for stopping."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bothways.errors import MissingExtra
from bothways.exports.gguf import llama_cpp
from bothways.exports.gguf.llama_cpp import LoaderError, encode


def answering(monkeypatch: pytest.MonkeyPatch, stdout: str = "", stderr: str = "") -> list[dict[str, Any]]:
    """Let the process print this. Returns its requests."""
    asked: list[dict[str, Any]] = []

    def run(command: list[str], *, input: str, timeout: float, **options: Any) -> Any:
        if stdout == "never":
            raise subprocess.TimeoutExpired(command, timeout)
        asked.append({"command": command[-2:], **json.loads(input)})
        return subprocess.CompletedProcess(command, 0, stdout, stderr)

    monkeypatch.setattr(llama_cpp, "installed", lambda: True)
    monkeypatch.setattr(llama_cpp.subprocess, "run", run)
    return asked


def test_vectors_are_found_among_what_llama_cpp_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, "llama_model_loader: loaded\nvectors: [[1.5, 2], [0, -1]]\nbye\n")
    assert encode(Path("x.gguf"), ["a", "b"], tokens=64, batch=True) == [[1.5, 2], [0, -1]]
    assert asked == [{"command": ["x.gguf", "64"], "texts": ["a", "b"], "batch": True}]


@pytest.mark.parametrize(
    ("stdout", "stderr", "message"),
    [
        ("", "loading\nerror:  unknown   model\nerror: two", r"x\.gguf: llama\.cpp cannot run it \(error: unknown model\)"),
        ("Error: from its output", "", r"cannot run it \(Error: from its output\)"),
        ("", "", r"cannot run it \(no reason given\)"),
        ("never", "", r"x\.gguf: llama\.cpp did not finish within 3 s"),
    ],
)
def test_a_process_without_vectors_is_one_line(monkeypatch: pytest.MonkeyPatch, stdout: str, stderr: str, message: str) -> None:
    answering(monkeypatch, stdout, stderr)
    with pytest.raises(LoaderError, match=message):
        encode(Path("x.gguf"), ["a"], tokens=64, batch=False, seconds=3)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_cpp, "installed", lambda: False)
    with pytest.raises(MissingExtra, match=r"xllamacpp.*bothways\[verify\]"):
        encode(Path("x.gguf"), ["a"], tokens=64, batch=False)
