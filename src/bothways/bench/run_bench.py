"""Runs the whole comparison: forms of the model, workers, rounds, and the record of all figures."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bothways.backbone.hardware import resolve_dtype
from bothways.bench.artifacts import Artifacts
from bothways.bench.limit import Shapes, operations, shapes
from bothways.bench.machine import busy_processes, cores, machine
from bothways.bench.peers import OWN, PREFIX, Peer, interpreter
from bothways.bench.ratios import Spread
from bothways.bench.rounds import PASS_ROWS, Entry, Rounds
from bothways.bench.worker_handle import Worker, WorkerError
from bothways.bench.workloads import FULL, Workload, workloads
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.provenance import versions

Say = Callable[[str], None]
FORMAT = 1
SAME = {"float32": 0.999, "bfloat16": 0.98, "float16": 0.98, "int8": 0.98}
"""Least mean cosine of a peer's vectors to ours that counts as the same encoder, by type."""


@dataclass(frozen=True)
class Setting:
    """The settings of a run.

    Attributes:
        model: an encoder folder, or a base model.
        dtype: type of the peers that can choose: "auto", "float32" or "bfloat16".
        threads: threads of every peer. If None, all cores.
        rounds: rounds that are counted.
        minutes: see `Rounds.run`.
        scale: share of the full number of texts.
        names: the workloads.
        environments: folder with the environments `.venv-bench-NAME`.
    """

    model: str
    dtype: str = "float32"
    threads: int | None = None
    rounds: int = 5
    minutes: float | None = None
    scale: float = 0.05
    names: tuple[str, ...] = tuple(FULL)
    environments: Path = Path()


def run_bench(
    setting: Setting,
    texts: Sequence[str],
    peers: Sequence[Peer],
    *,
    say: Say,
    work: Path | None = None,
) -> dict[str, Any]:
    """Compare peers on one model and return a record of all figures.

    Args:
        setting: see `Setting`.
        texts: paragraphs that the workloads are made from.
        peers: the peers. The first is bothways, which the others are compared with.
        say: takes lines about progress.
        work: folder for the forms of the model, which a later run uses again. If None, a temporary
            folder.

    Returns:
        The record, as JSON values, see `record`.

    Raises:
        InputError: if no text can be used, or the work folder is of another model.
        WorkerError: if bothways itself fails. Other peers that fail are named in the record.
    """
    if not peers or peers[0].name != OWN:
        raise InputError(f"peers: the first must be {OWN}")
    with ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        say(f"opening {setting.model}")
        artifacts = Artifacts(setting.model, folder)
        encoder = artifacts.encoder()
        found = shapes(encoder.backbone)
        dtype = str(resolve_dtype(setting.dtype, "cpu")).removeprefix("torch.")
        works = workloads(encoder, texts, setting.scale, setting.names)
        facts = _facts(setting, encoder, dtype, found)
        del encoder  # its memory is needed by the workers
        absent: dict[str, str] = {}
        entries = []
        for peer in peers:
            entry = _open(peer, artifacts, setting, dtype, absent, say)
            if entry is not None:
                stack.callback(entry.worker.close)
                entries.append(entry)
        if not entries or entries[0].peer.name != OWN:
            raise WorkerError(f"{OWN}: {absent[OWN]}")
        limit = _limit(found, dtype, facts["threads"])
        stack.callback(limit.close)
        rounds = Rounds(entries, works, say, limit)
        rounds.compare()
        facts["rounds"] = rounds.run(setting.rounds, setting.minutes)
        facts["load_at_end"] = busy_processes()
    return record(facts, rounds, works, absent)


def _facts(setting: Setting, encoder: Encoder, dtype: str, found: Shapes) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "model": setting.model,
        "direction": encoder.direction,
        "dtype": dtype,
        "threads": setting.threads or cores(),
        "rounds": setting.rounds,
        "scale": setting.scale,
        "machine": machine(),
        "load_at_start": busy_processes(),
        "versions": versions(),
        "operations_per_token": operations(found),
        "max_length": encoder.max_length,
    }


def _open(
    peer: Peer,
    artifacts: Artifacts,
    setting: Setting,
    dtype: str,
    absent: dict[str, str],
    say: Say,
) -> Entry | None:
    """Start a peer's worker and load the model in it. If it cannot run, note the reason."""
    python = interpreter(peer, setting.environments)
    if python is None:
        absent[peer.name] = (
            f"not installed ({', '.join(peer.packages)}); make bench installs it into {PREFIX}{peer.environment}"
        )
        return None
    worker = None
    try:
        place = artifacts.place(peer.artifact, python, say)
        given = {
            "loader": peer.loader,
            "folder": str(place),
            "dtype": peer.dtype if peer.dtype not in (None, "int8") else dtype,
            "batch": peer.batch,
            "threads": setting.threads or cores(),
            "tokens": artifacts.tokens,
            "quantize": peer.quantize,
            "graph": peer.graph,
        }
        say(f"{peer.name}: loading")
        worker = Worker(python, given)
        answer = worker.ask("open")
    except WorkerError as error:
        absent[peer.name] = str(error)
        say(f"{peer.name}: {error}")
        if worker is not None:
            worker.close()
        return None
    return Entry(peer, worker, peer.dtype or dtype, answer["versions"], answer["seconds"])


def _limit(found: Shapes, dtype: str, threads: int) -> Worker:
    return Worker(
        sys.executable,
        {"loader": "bothways", "shapes": found, "dtype": dtype, "threads": threads},
    )


def record(
    facts: dict[str, Any], rounds: Rounds, works: Sequence[Workload], absent: dict[str, str]
) -> dict[str, Any]:
    """Collect all figures as JSON values.

    Returns:
        `facts`, and: "workloads" (number of texts and tokens), "limit" (of the matrix products, by
        workload), "peers" (by name: type, versions, memory, cosines, and for each workload the
        figures of `Timed.figures`), and "absent" (the reason, by name).
    """
    own = rounds.entries[0]
    limit = {}
    for work in works:
        seconds = rounds.products[work.name]
        rates = [facts["operations_per_token"] / each / 1e9 for each in seconds]
        shares = [
            work.tokens * each / total for each, total in zip(seconds, own.times[work.name].totals)
        ]
        limit[work.name] = {
            "gflops": Spread.of(rates).as_dict(),
            "tokens_per_second": Spread.of([1 / each for each in seconds]).as_dict(),
            "share_of_bothways": Spread.of(shares).as_dict(),
        }
    return {
        **facts,
        "workloads": {
            work.name: {"texts": len(work.texts), "tokens": work.tokens} for work in works
        },
        "limit": {"rows": PASS_ROWS, **limit},
        "peers": {entry.peer.name: _figures(entry, own, works) for entry in rounds.entries},
        "absent": {**absent, **rounds.failed},
    }


def _figures(entry: Entry, own: Entry, works: Sequence[Workload]) -> dict[str, Any]:
    mean = sum(entry.cosines) / len(entry.cosines)
    peer = {key: value for key, value in asdict(entry.peer).items() if key in ("artifact", "batch")}
    return {
        **peer,
        "dtype": entry.dtype,
        "versions": entry.versions,
        "load_seconds": entry.opening,
        "memory_bytes": entry.memory,
        "cosine_mean": mean,
        "cosine_least": min(entry.cosines),
        "same_vectors": mean >= SAME[entry.dtype],
        "workloads": {
            work.name: entry.times[work.name].figures(own.times[work.name], work.tokens, work.each)
            for work in works
        },
    }
