"""One writer per output: devices, links and others' files stay, leftovers of the dead go, those of
the living stay.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from bothways import locks
from bothways.atomic import atomic_file, atomic_folder, remove_folder, remove_parts
from bothways.errors import InputError, OutputError
from bothways.locks import held

HOLDER = """
import sys, time
from bothways.atomic import atomic_file, atomic_folder
with (atomic_folder if sys.argv[2] == "folder" else atomic_file)(sys.argv[1]) as part:
    (part / "file" if sys.argv[2] == "folder" else part).write_text("half")
    print("held", flush=True)
    time.sleep(600)
"""


def start(target: Path, kind: str) -> subprocess.Popen[str]:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(target), kind], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_second_writer_is_refused_and_the_next_one_removes_what_a_killed_one_left(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "out"
    writer = atomic_folder if kind == "folder" else atomic_file
    holder = start(target, kind)
    try:
        (part,) = tmp_path.glob(".out.*.part")
        link = tmp_path / "link"
        link.symlink_to(target)
        for name in (target, link):  # by another name too
            with pytest.raises(InputError, match="another process is writing there"), writer(name):
                raise AssertionError("nothing may run")
        assert part.exists()  # of a writer that lives
        link.unlink()
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert part.exists()
    other = tmp_path / ".outer.abcd1234.part"  # of another output
    other.touch()
    with writer(target) as new:
        (new / "file" if kind == "folder" else new).write_text("whole")
        assert not part.exists()
    assert sorted(os.listdir(tmp_path)) == [".outer.abcd1234.part", "out"]


def test_a_folder_that_was_moved_aside_comes_back(tmp_path: Path) -> None:
    aside = tmp_path / ".out.abcd1234.old" / "old"
    aside.mkdir(parents=True)
    (aside / "file").write_text("the only one")
    with held(tmp_path / "out"):
        assert (tmp_path / "out" / "file").read_text() == "the only one"
    assert os.listdir(tmp_path) == ["out"]


def test_a_thread_holds_again_and_another_thread_does_not(tmp_path: Path) -> None:
    refused: list[str] = []

    def other() -> None:
        try:
            with held(tmp_path / "out"):
                refused.append("not refused")
        except InputError as error:
            refused.append(str(error))

    with held(tmp_path / "out"), held(tmp_path / "out"), atomic_file(tmp_path / "out") as part:
        part.write_text("x")
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(refused) == 1
    assert "another thread is writing there" in refused[0]
    assert os.listdir(tmp_path) == ["out"]


def test_a_lock_leaves_no_folders_that_it_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mine"), held(tmp_path / "deep" / "er" / "out"):
        raise InputError("mine")
    assert os.listdir(tmp_path) == []


def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    for name, kind in (("file", atomic_file), ("folder", atomic_folder), ("new", atomic_file)):
        place = tmp_path / "disk" / name
        if name == "file":
            place.write_text("old")
        if name == "folder":
            place.mkdir(mode=0o700)
        link = tmp_path / name
        link.symlink_to(place)
        with kind(link) as part:
            (part / "x" if name == "folder" else part).write_text("new")
            assert part.parent == place.parent
        assert link.is_symlink()
        assert (place / "x" if name == "folder" else place).read_text() == "new"
    assert stat.S_IMODE((tmp_path / "disk" / "folder").stat().st_mode) == 0o700  # as its owner made it
    assert sorted(os.listdir(tmp_path / "disk")) == ["file", "folder", "new"]


def test_links_in_a_circle_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OutputError, match="a: cannot be written"), atomic_file(tmp_path / "a"):
        raise AssertionError("nothing may run")


def test_a_device_and_a_pipe_are_written_through(tmp_path: Path) -> None:
    before = os.stat("/dev/null")
    with atomic_file("/dev/null") as part:
        part.write_text("nobody reads it")
    assert os.stat("/dev/null").st_rdev == before.st_rdev
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with atomic_file(pipe) as part:
        part.write_text("through")
    reader.join(10)
    assert read == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]
    with pytest.raises(OutputError, match="/dev/full: cannot be written"), atomic_file("/dev/full") as part:
        part.write_text("x")
    with pytest.raises(InputError, match="already exists"), atomic_folder("/dev/null"):
        raise AssertionError("nothing may run")
    with pytest.raises(OutputError, match="is not a folder"), atomic_folder(pipe, replace=True):
        raise AssertionError("nothing may run")


def test_a_socket_is_left_as_it_is(tmp_path: Path, monkeypatch) -> None:
    import socket

    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s")
        with pytest.raises(OutputError, match="s: is not a regular file and is left as it is"), atomic_file("s"):
            raise AssertionError("nothing may run")
        assert stat.S_ISSOCK(os.stat("s").st_mode)


def test_what_appears_in_between_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="something else appeared there"), atomic_folder(out) as part:
        (part / "x").write_text("ours")
        out.mkdir()
        (out / "mine").write_text("theirs")
    assert os.listdir(out) == ["mine"]
    file = tmp_path / "file"
    with pytest.raises(OutputError, match="is not a folder"), atomic_folder(file) as part:
        file.write_text("theirs")
    with pytest.raises(OutputError, match="Is a directory"), atomic_file(tmp_path / "new") as part:
        part.write_text("ours")
        (tmp_path / "new").mkdir()
    assert file.read_text() == "theirs"
    assert sorted(os.listdir(tmp_path)) == ["file", "new", "out"]


def test_a_private_file_stays_private_and_long_names_work(tmp_path: Path) -> None:
    secret = tmp_path / "results.json"
    secret.write_text("old")
    secret.chmod(0o600)
    with atomic_file(secret) as part:
        part.write_text("new")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    long = tmp_path / ("é" * 120 + ".npy")  # 244 bytes
    with atomic_file(long) as part:
        part.write_text("x")
    with pytest.raises(OutputError, match="File name too long"), atomic_file(tmp_path / ("x" * 300)):
        raise AssertionError("nothing may run")
    assert sorted(os.listdir(tmp_path)) == ["results.json", long.name]


def test_full_disks_that_libraries_tell_of_in_their_own_words(tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def numpy(part: Path) -> None:
        np.ones(100_000).tofile(part)

    def pytorch(part: Path) -> None:
        torch.save({"a": torch.ones(100_000)}, part)

    for write in (numpy, pytorch):
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
        try:
            with (
                pytest.raises(OutputError, match=r"out: cannot be written \(.*\); make room"),
                atomic_file(tmp_path / "out") as part,
            ):
                write(part)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_everything_is_synced_before_it_is_renamed(tmp_path: Path, monkeypatch) -> None:
    events: list[tuple[str, str]] = []
    sync, replace = os.fsync, os.replace

    def fsync(handle: int) -> None:
        events.append(("sync", os.path.basename(os.readlink(f"/proc/self/fd/{handle}"))))
        sync(handle)

    def rename(source, target) -> None:
        events.append(("rename", os.path.basename(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", rename)
    with atomic_folder(tmp_path / "out") as part:
        (part / "weights").write_text("x")
    done = events.index(("rename", "out"))
    assert ("sync", "weights") in events[:done]
    assert ("sync", tmp_path.name) in events[done:]
    events.clear()
    with atomic_file(tmp_path / "file") as part:
        part.write_text("x")
    assert [kind for kind, _ in events] == ["sync", "rename", "sync"]


def test_a_folder_is_removed_under_another_name(tmp_path: Path, monkeypatch) -> None:
    gone = tmp_path / "step-00000003"
    gone.mkdir()
    (gone / "state.json").touch()
    monkeypatch.setattr("bothways.atomic.shutil.rmtree", lambda *_, **__: None)  # as if killed there
    remove_folder(gone)
    monkeypatch.undo()
    assert not gone.exists()
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".step-00000003.")
    (tmp_path / ".mine.part").touch()  # a name that is not ours
    remove_parts(tmp_path)
    assert os.listdir(tmp_path) == [".mine.part"]


def test_a_signal_right_after_the_lock_leaves_no_file(tmp_path: Path, monkeypatch) -> None:
    """A handler's exception may come between the lock and whatever would undo it."""
    taken = locks.FileLock.acquire

    def interrupted(self, *arguments, **named):
        taken(self, *arguments, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(locks.FileLock, "acquire", interrupted)
        with pytest.raises(KeyboardInterrupt), locks.held(tmp_path / "out"):
            pass
    assert list(tmp_path.iterdir()) == []
    with locks.held(tmp_path / "out"):
        assert [each.name for each in tmp_path.iterdir()] == [".out.lock"]
