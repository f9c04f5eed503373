"""Ray writes what one process writes; a lost process, a failing shard and bad input are told."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import bothways as bw
from bothways.bulk import on_ray
from bothways.errors import BothwaysError, InputError, MissingExtra
from unit.bulk.material import CPU, files

try:
    import ray
except ImportError:
    ray = None  # type: ignore[assignment]

needs_ray = pytest.mark.skipif(ray is None, reason="Ray is not installed: make ray")


@pytest.fixture(scope="module")
def cluster():
    """A cluster of this machine, for two processes."""
    on_ray._ray()
    paths = os.pathsep.join(str(Path(path).resolve()) for path in ("src", "tests"))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": paths}})
    yield
    ray.shutdown()


def broken(monkeypatch, function) -> None:
    """Let every actor call a function with the number of a shard before it encodes it."""
    plain = on_ray.ShardActor

    class Broken(plain):  # type: ignore[misc, valid-type]
        def _texts(self, number: int):
            function(number)
            return super()._texts(number)

    monkeypatch.setattr(on_ray, "ShardActor", Broken)


@needs_ray
def test_the_same_bytes_as_one_process(cluster, model: Path, done: Path, tmp_path: Path) -> None:
    bw.bulk_encode(model, done / "texts.jsonl", tmp_path / "out", on="ray", processes=2, **CPU)
    assert files(tmp_path / "out") == files(done / "out")
    # and goes on with what another run left
    (tmp_path / "out" / "shard-000004.parquet").unlink()
    bw.bulk_encode(model, done / "texts.jsonl", tmp_path / "out", on="ray", **CPU)
    assert files(tmp_path / "out") == files(done / "out")


@needs_ray
def test_a_process_that_is_killed_is_started_again(
    cluster, model: Path, done: Path, tmp_path: Path, monkeypatch, caplog
) -> None:
    mark = tmp_path / "mark"

    def kill(number: int) -> None:
        if number == 3 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    broken(monkeypatch, kill)
    bw.bulk_encode(model, done / "texts.jsonl", tmp_path / "out", on="ray", processes=2, **CPU)
    assert mark.exists() and "a Ray process was lost and started again" in caplog.text
    assert files(tmp_path / "out") == files(done / "out")


@needs_ray
def test_a_failing_shard_is_told_and_tried_again(cluster, model: Path, done: Path, tmp_path: Path, monkeypatch, caplog) -> None:
    mark = tmp_path / "mark"

    def once(number: int) -> None:
        if number == 2 and not mark.exists():
            mark.touch()
            raise RuntimeError("a cosmic ray")

    broken(monkeypatch, once)
    bw.bulk_encode(model, done / "texts.jsonl", tmp_path / "out", on="ray", **CPU)
    assert "shard 2 failed: RuntimeError('a cosmic ray') (try 1 of 3)" in caplog.text
    assert files(tmp_path / "out") == files(done / "out")

    def always(number: int) -> None:
        if number == 5:
            raise RuntimeError("a broken disk")

    broken(monkeypatch, always)
    with pytest.raises(BothwaysError, match=r"^1 shards failed 3 times \(shard 5: RuntimeError\('a broken disk'\)\)"):
        bw.bulk_encode(model, done / "texts.jsonl", tmp_path / "new", on="ray", **CPU)
    assert sorted(files(tmp_path / "new"))[:2] == ["manifest.json", "shard-000000.parquet"]


@needs_ray
def test_bad_input_is_one_line(cluster, model: Path, done: Path, tmp_path: Path) -> None:
    for options, told in (
        ({"prompt_name": "q"}, "^prompt_name: 'q' is not stored"),
        ({"processes": 99}, "^--processes 99: the Ray cluster has 2 CPUs; use at most 2"),
    ):
        with pytest.raises(InputError, match=told):
            bw.bulk_encode(model, done / "texts.jsonl", tmp_path / "out", on="ray", **CPU, **options)
    assert not (tmp_path / "out").exists()


def test_without_ray_the_install_line_is_told(model: Path, done: Path, tmp_path: Path, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"encode --on ray needs ray, .* pip install 'bothways\[ray\]'"):
        bw.bulk_encode(model, done / "texts.jsonl", tmp_path / "out", on="ray")
    with pytest.raises(InputError, match="on: 'spark'; expected 'ray'"):
        bw.bulk_encode(model, done / "texts.jsonl", tmp_path / "out", on="spark")
