"""Outputs appear whole or not at all, whatever happens in between."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bothways import atomic
from bothways.atomic import atomic_file, atomic_folder
from bothways.errors import InputError, OutputError, SourceError

ERRORS = [KeyboardInterrupt(), ValueError("broken"), SourceError("a source, not this place")]
FULL = [OSError(28, "No space left on device"), OSError(122, "Disk quota exceeded"), OSError(30, "Read-only file system")]


def fill(part: Path, text: str) -> None:
    (part / "file.txt" if part.is_dir() else part).write_text(text)


def content(place: Path) -> str:
    return (place / "file.txt" if place.is_dir() else place).read_text()


def folder(target: Path) -> Any:
    return atomic_folder(target, replace=True)


@pytest.mark.parametrize("kind", [atomic_file, folder])
def test_appears_at_the_end_with_the_usual_permissions(kind: Any, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "out"
    with kind(target) as part:
        fill(part, "new")
        assert not target.exists()
        assert part.parent == target.parent  # renaming works within one file system only
    assert content(target) == "new"
    assert os.listdir(target.parent) == ["out"]
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    usual = tmp_path / ("folder" if target.is_dir() else "file")
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


@pytest.mark.parametrize("kind", [atomic_file, folder])
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("error", [*ERRORS, *FULL], ids=lambda error: type(error).__name__ + str(error)[:12])
def test_a_failure_leaves_what_was_there(kind: Any, there: bool, error: BaseException, tmp_path: Path) -> None:
    target = tmp_path / "out"
    if there:
        with kind(target) as part:
            fill(part, "old")
    with pytest.raises(BaseException) as caught, kind(target) as part:
        fill(part, "half of the new")
        raise error
    if error in FULL:
        assert isinstance(caught.value, OutputError)
        assert str(caught.value) == f"{target}: cannot be written ({error.strerror}); make room or choose another place"
    else:
        assert caught.value is error
    assert os.listdir(tmp_path) == (["out"] if there else [])
    assert not there or content(target) == "old"


def test_a_rename_that_fails_brings_the_old_folder_back(tmp_path: Path, monkeypatch) -> None:
    with folder(tmp_path / "out") as part:
        fill(part, "old")
    replace, calls = os.replace, []

    def second_fails(source: Any, target: Any) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(atomic.os, "replace", second_fails)
    with pytest.raises(OutputError, match=r"out: cannot be written \(Input/output error\)"), folder(tmp_path / "out") as part:
        fill(part, "new")
    assert content(tmp_path / "out") == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_a_folder_in_use_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with atomic_folder(tmp_path / "empty") as part:
        fill(part, "new")
    assert content(tmp_path / "empty") == "new"
    for place in ("empty", "empty/file.txt"):
        with pytest.raises(InputError, match="already exists and is not empty"), atomic_folder(tmp_path / place):
            raise AssertionError("nothing may run")


def test_a_place_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for kind in (atomic_file, folder):
        with (
            pytest.raises(OutputError, match=r"deeper: cannot be written \(.*file: File exists\)"),
            kind(tmp_path / "file" / "deeper"),
        ):
            raise AssertionError("nothing may run")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").touch()
    with (
        pytest.raises(OutputError, match=r"folder: cannot be written \(Is a directory\)"),
        atomic_file(tmp_path / "folder") as part,
    ):
        part.write_text("x")
    assert (tmp_path / "folder" / "mine").exists()
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_really_full_disk(tmp_path: Path) -> None:
    """The limit on file sizes stands in for the disk: the system itself refuses the write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        for kind in (atomic_file, folder):
            with pytest.raises(OutputError, match=r"out: cannot be written \(File too large\)"), kind(tmp_path / "out") as part:
                fill(part, "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_a_kill_leaves_the_old_file_whole(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    code = (
        "import os, signal\nfrom bothways.atomic import atomic_file\n"
        f"with atomic_file({str(tmp_path / 'out')!r}) as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "out").read_text() == "old"
