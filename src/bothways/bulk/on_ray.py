"""Encodes shards with Ray Data, on one machine or a cluster.

    missing shards ─ dataset of their numbers ─ map_batches over a pool of actors ─▶ records

Each actor loads the model once, reads the texts of its shards from the source itself, and writes
them to the folder. So source, model and folder must be at the same path on every machine. The
folder is the one that local processes write, and either goes on with what the other began.

Ray starts an actor again if its process or machine is lost, and gives it the shard again. A shard
whose code fails comes back as a row with the error, and is tried again in the next round.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from bothways.bulk.model_request import ModelRequest
from bothways.bulk.settings import ROWS, JobSettings
from bothways.bulk.shard_file import ShardRecord, write_shard
from bothways.bulk.shard_texts import ShardTexts, cut_shards
from bothways.bulk.source_texts import SourceTexts
from bothways.bulk.workers import ERRORS, TRIES
from bothways.errors import BothwaysError, InputError, MissingExtra

log = logging.getLogger("bothways")


class Job(NamedTuple):
    """What every actor needs to know."""

    request: ModelRequest
    settings: JobSettings
    source: SourceTexts
    folder: Path
    rows: int
    digest: str
    place: str
    """Working folder of the command, from which names are read."""


class ShardActor:
    """Encodes the shards whose numbers it gets. Ray makes one for each process of the pool."""

    def __init__(self, job: Job) -> None:
        """Load the model."""
        import ray

        _enter(job.place)
        self.job = job
        self.encoder = job.request.open()
        self.restarted = bool(ray.get_runtime_context().was_current_actor_reconstructed)
        self._shards: Iterator[ShardTexts] = iter(())
        self._next = -1

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Encode one shard, and return its record or the error in columns of one row."""
        number, digest = int(batch["number"][0]), str(batch["digest"][0])
        row: dict[str, Any] = {"number": number, "record": None, "kind": "", "error": ""}
        row |= {"restarted": self.restarted}
        self.restarted = False
        try:
            shard = self._texts(number)
            if shard is None or shard.digest() != digest:
                raise InputError(
                    f"{self.job.source.source}: changed while it was encoded; run the same command again"
                )
            found = write_shard(
                self.encoder, shard, self.job.folder, self.job.settings, self.job.digest
            )
            row["record"] = found.values()
        except Exception as error:  # it is reported, and the shard is tried again
            told = str(error) if isinstance(error, BothwaysError) else f"{error!r}"
            row |= {"kind": type(error).__name__, "error": told}
        return {key: [value] for key, value in row.items()}

    def _texts(self, number: int) -> ShardTexts | None:
        """Read up to a shard. Numbers mostly grow, so the source is read about once."""
        if number < self._next or self._next < 0:
            texts, places = self.job.source.read()
            self._shards, self._next = cut_shards(texts, places, self.job.rows), 0
        for shard in self._shards:
            self._next = shard.number + 1
            if shard.number == number:
                return shard
        self._next = -1
        return None


@dataclass
class OnRay:
    """A runner on Ray.

    Attributes:
        request: the model.
        settings: see `JobSettings`.
        folder: the folder of the job, on a disk that every machine sees.
        source: the texts.
        count: number of actors. If None, one for each GPU, or else for each machine.
    """

    request: ModelRequest
    settings: JobSettings
    folder: Path
    source: SourceTexts
    count: int | None = None
    _options: dict[str, Any] = field(default_factory=dict)
    _started: bool = False

    def open(self) -> dict[str, Any]:
        """See `workers.Runner`. It connects to the cluster that runs, or starts one here.

        Raises:
            MissingExtra: if Ray is not installed.
            InputError: if the cluster has fewer GPUs or CPUs than processes.
        """
        ray = _ray()
        if not ray.is_initialized():
            ray.init(logging_level=logging.ERROR, log_to_driver=False, configure_logging=False)
            self._started = True
        have = ray.cluster_resources()
        gpus = int(have.get("GPU", 0)) if self.request.device in ("auto", "cuda") else 0
        machines = sum(1 for node in ray.nodes() if node["Alive"])
        self.count = self.count or gpus or machines
        room, kind = (gpus, "GPUs") if gpus else (int(have.get("CPU", 0)), "CPUs")
        if self.count > room:
            raise InputError(
                f"--processes {self.count}: the Ray cluster has {room} {kind}; use at most {room}"
            )
        self._options = {"num_gpus": 1} if gpus else {"num_cpus": max(1, room // self.count)}
        facts = ray.remote(**self._options, max_retries=TRIES)(_facts)
        try:
            found: dict[str, Any] = ray.get(facts.remote(self.request, self.settings, os.getcwd()))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, BothwaysError):
                raise error.cause from error
            raise
        return found

    def run(
        self, shards: Iterator[ShardTexts], job: str, rows: int = ROWS
    ) -> Iterator[ShardRecord]:
        """See `workers.Runner`. The texts are read once here, to find the missing shards."""
        missing = {shard.number: shard.digest() for shard in shards}
        whole = Job(self.request, self.settings, self.source, self.folder, rows, job, os.getcwd())
        for attempt in range(1, TRIES + 1):
            failed: dict[int, str] = {}
            for row in self._rows(missing, whole):
                number = int(row["number"])
                if row["restarted"]:
                    log.warning(
                        "a Ray process was lost and started again; shard %d is encoded by it",
                        number,
                    )
                if row["record"] is not None:
                    del missing[number]
                    yield ShardRecord(**row["record"])
                    continue
                # Bad input and full disks stay as they are.
                if row["kind"] in ERRORS:
                    raise ERRORS[row["kind"]](row["error"])
                failed[number] = row["error"]
                log.warning(
                    "shard %d failed: %s (try %d of %d)", number, row["error"], attempt, TRIES
                )
            if not missing:
                return
        told = "; ".join(f"shard {number}: {error}" for number, error in sorted(failed.items()))
        raise BothwaysError(f"{len(missing)} shards failed {TRIES} times ({told[:600]})")

    def close(self) -> None:
        """See `workers.Runner`. A cluster that ran before stays."""
        if self._started:
            _ray().shutdown()

    def _rows(self, missing: Mapping[int, str], job: Job) -> Iterator[dict[str, Any]]:
        """Yield the rows of the dataset as they are finished."""
        import ray.data

        if not missing:
            return
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        items = [{"number": number, "digest": digest} for number, digest in missing.items()]
        found = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            ShardActor,
            batch_size=1,
            fn_constructor_args=(job,),
            compute=ray.data.ActorPoolStrategy(size=min(self.count or 1, len(items))),
            **self._options,
        )
        yield from found.iter_rows()


def _ray() -> ModuleType:
    """Import Ray without its messages about itself.

    Raises:
        MissingExtra: if it is not installed.
    """
    # Ray would report each use to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtra("ray", "ray", "encode --on ray") from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    library: ModuleType = ray
    return library


def _facts(request: ModelRequest, settings: JobSettings, place: str) -> dict[str, Any]:
    _enter(place)
    return settings.facts(request.open(), request.name)


def _enter(place: str) -> None:
    """Make a process of Ray like the command: its working folder, if it is there, and settings."""
    with suppress(OSError):
        os.chdir(place)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
