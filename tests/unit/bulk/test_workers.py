"""Several processes write what one writes; one that is lost is replaced."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import pytest

import bothways as bw
from bothways.bulk.model_request import ModelRequest
from bothways.bulk.settings import JobSettings
from bothways.bulk.shard_texts import ShardTexts
from bothways.bulk.workers import Processes
from bothways.errors import BothwaysError, InputError, OutputError
from unit.bulk import light_worker
from unit.bulk.material import ROWS, files, source


def run(folder: Path, texts: list[str], count: int = 2, model: str = "light") -> list[int]:
    """The shards that come back, in order, each of one text."""
    runner = Processes(ModelRequest(model), JobSettings(), folder, count, main=light_worker.main)
    try:
        runner.open()
        shards = (ShardTexts(number, number, [text], [("f", number)]) for number, text in enumerate(texts))
        return sorted(record.number for record in runner.run(shards, "job"))
    finally:
        processes = [worker.process for worker in runner._workers]
        runner.close()
        assert all(process.exitcode is not None for process in processes)


def test_every_shard_comes_back_once(tmp_path: Path) -> None:
    assert run(tmp_path, ["text"] * 20) == list(range(20))


def test_the_shard_of_a_lost_process_goes_to_another(tmp_path: Path, caplog) -> None:
    assert run(tmp_path, ["text", "die once", "text", "text", "die once"]) == [0, 1, 2, 3, 4]
    told = [line for line in caplog.messages if "was ended by SIGKILL" in line]
    assert len(told) == 2
    for number in (1, 4):  # whichever ends first
        shard = f"shard-00000{number}.parquet (texts {number} to {number})"
        assert sum(f"{shard} is encoded by another one" in line for line in told) == 1


def test_a_shard_that_ends_every_process_is_named(tmp_path: Path) -> None:
    with pytest.raises(BothwaysError, match=r"^shard-000002\.parquet \(texts 2 to 2\): 3 processes ended .* by SIGKILL"):
        run(tmp_path, ["text", "text", "die", "text"])


def test_errors_keep_their_kind(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no room"):
        run(tmp_path, ["text", "full"])
    with pytest.raises(BothwaysError, match="process 0 ended with exit code 3 before it had loaded broken; if memory"):
        run(tmp_path, ["text"], count=1, model="broken")


def test_processes_with_different_models_are_refused(tmp_path: Path) -> None:
    runner = Processes(ModelRequest("changing"), JobSettings(), tmp_path, 2, main=light_worker.main)
    try:
        with pytest.raises(InputError, match="changing: the model changed while the processes loaded it"):
            runner.open()
            runner._receive(deque())
    finally:
        runner.close()


def test_kill_9_and_again(model: Path, tmp_path: Path) -> None:
    """Two real processes of the command line. Its first process is killed after the first shard:
    the others end by themselves, and what goes on makes the bytes of an undisturbed run.
    """
    out, texts = tmp_path / "out", source(tmp_path)
    command = [sys.executable, "-m", "bothways", "encode", str(model), str(texts), "--out", f"{out}/"]
    command += ["--processes", "2", "--shard-rows", str(ROWS), "--device", "cpu", "--dtype", "float32"]
    first = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 300
    while not (out / "shards.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    first.kill()
    first.wait()
    while time.monotonic() < deadline:
        try:
            os.killpg(first.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.01)
    else:
        pytest.fail("processes outlive the first one")
    options = {"device": "cpu", "dtype": "float32", "shard_rows": ROWS}
    bw.bulk_encode(model, texts, out, **options)
    bw.bulk_encode(model, texts, tmp_path / "undisturbed", **options)
    assert files(out) == files(tmp_path / "undisturbed")
