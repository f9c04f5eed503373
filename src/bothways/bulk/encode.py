"""Encodes a source of any size into a folder of shards: `bw.bulk_encode` and `bothways encode`.

    source ─ texts ─ cut ─▶ shards that are not there yet ─▶ processes ─▶ records ─▶ manifest

Texts are read once, as a stream, by this process. In memory are the shards that are being encoded
and one more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bothways.bulk.model_request import ModelRequest
from bothways.bulk.settings import ROWS, JobSettings
from bothways.bulk.shard_folder import ShardFolder
from bothways.bulk.shard_texts import ShardTexts, cut_shards
from bothways.bulk.source_texts import SourceTexts, Unit
from bothways.bulk.workers import OneProcess, Processes, Runner
from bothways.errors import InputError
from bothways.locks import held
from bothways.progress import Progress
from bothways.provenance import versions

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

log = logging.getLogger("bothways")


def bulk_encode(
    model: str | Path | Encoder,
    source: str | Path,
    out: str | Path,
    *,
    processes: int | None = None,
    on: str | None = None,
    shard_rows: int | None = None,
    column: str | None = None,
    unit: Unit | None = None,
    device: str = "auto",
    dtype: str = "auto",
    **settings: Any,
) -> dict[str, Any]:
    """Encode every text of a source into a folder of Parquet shards. A job that stopped goes on.

    For example, `bulk_encode("my-encoder", "texts/", "vectors/", processes=2, prompt="Find: ")`.
    `read_shards` reads the folder.

    Args:
        model: an encoder folder or a base model, or an encoder in memory (with one process).
        source: what `bothways encode` reads: a file, a folder or a hub dataset.
        out: the folder. If it holds shards of this job, only the missing ones are encoded.
        processes: number of processes. Each holds the model. If None, 1, and on Ray one for each
            GPU, or for each machine without GPUs.
        on: "ray" for a Ray cluster: the one that runs, or one that is started here. If None, this
            machine.
        shard_rows: texts of a shard. If None, those of the folder, or 16,384 in a new one.
        column: column of the text. If None, it is found by its name.
        unit: for .txt files, whether each line or each file is a text. If None, each file with
            `chunks`, else each line.
        device: for example "cpu". "auto" with several GPUs gives each process one of them.
        dtype: "auto", "float32", "bfloat16" or "float16".
        **settings: fields of `bothways.bulk.settings.JobSettings`, for example `truncate_dim=256`.

    Returns:
        The manifest.

    Raises:
        InputError: an argument is wrong, a text cannot be encoded, or the folder holds something
            else: vectors of another model, other settings, files of another program.
        SourceError: the source cannot be found or read.
        OutputError: the folder cannot be written, or the disk is full. What is finished stays.
        BothwaysError: processes ended again and again.
    """
    chosen = _settings(settings)
    if processes is not None and processes < 1:
        raise InputError(f"processes: must be at least 1 (got {processes})")
    folder = Path(out)
    reader = SourceTexts(source, column, unit or default_unit(chosen))
    runner: Runner
    if not isinstance(model, (str, Path)):
        if on is not None or (processes or 1) > 1:
            raise InputError(
                "model: an encoder in memory stays in its process; save it and give its folder, or use processes=1"
            )
        in_memory = model
        name = str(in_memory.provenance.get("base", "encoder"))
        runner = OneProcess(lambda: in_memory, name, chosen, folder)
    else:
        request = ModelRequest(str(model), device, dtype)
        runner = runner_of(on, request, chosen, folder, reader, processes)
    return encode_into(folder, runner, reader, shard_rows)


def default_unit(settings: JobSettings) -> Unit:
    """Return what is a text in a .txt file: a document if it is to be cut into passages."""
    return "line" if settings.chunks is None else "document"


def runner_of(
    on: str | None,
    request: ModelRequest,
    settings: JobSettings,
    folder: Path,
    source: SourceTexts,
    processes: int | None,
) -> Runner:
    """Return the runner for a place and a number of processes; see `bulk_encode`.

    Raises:
        InputError: if the place is unknown.
    """
    if on is not None:
        if on != "ray":
            raise InputError(f"on: {on!r}; expected 'ray', or leave it out for this machine")
        from bothways.bulk.on_ray import OnRay

        return OnRay(request, settings, folder, source, processes)
    if processes in (None, 1):
        return OneProcess(request.open, request.name, settings, folder)
    return Processes(request, settings, folder, processes or 1)


def encode_into(
    folder: Path, runner: Runner, source: SourceTexts, shard_rows: int | None = None
) -> dict[str, Any]:
    """Encode what is missing in a folder, and return its manifest. See `bulk_encode`."""
    if shard_rows is not None and shard_rows < 1:
        raise InputError(f"shard_rows: must be at least 1 (got {shard_rows})")
    # The first text is read before the model, so that a wrong path fails at once.
    texts, places = source.read()
    with held(folder):
        state = ShardFolder(folder)
        rows = state.shard_rows or shard_rows or ROWS
        if shard_rows not in (None, rows):
            raise InputError(
                f"{folder}: has shards of {rows} texts, not of {shard_rows}; leave --shard-rows out, or name another folder"
            )
        try:
            facts = runner.open()
            state.begin(
                {**facts, "shard_rows": rows, "source": source.facts, "versions": versions()}
            )
            return _fill(state, runner, cut_shards(texts, places, rows), rows)
        finally:
            runner.close()


def _fill(
    state: ShardFolder, runner: Runner, shards: Iterator[ShardTexts], rows: int
) -> dict[str, Any]:
    count = kept = 0

    def missing() -> Iterator[ShardTexts]:
        nonlocal count, kept
        for shard in shards:
            count += 1
            if state.is_done(shard):
                kept += 1
                bar.advance(len(shard.texts))
                continue
            state.reopen()
            yield shard

    with Progress("encode", None, "texts") as bar:
        for record in runner.run(missing(), state.job, rows):
            state.add(record)
            bar.advance(record.texts)
    if kept:
        log.info("%s: %d of %d shards were there already", state.place, kept, count)
    return state.complete(count)


def _settings(given: dict[str, Any]) -> JobSettings:
    try:
        found = JobSettings(**given)
    except TypeError:
        known = ", ".join(JobSettings.__dataclass_fields__)
        wrong = ", ".join(name for name in given if name not in JobSettings.__dataclass_fields__)
        raise InputError(f"{wrong}: not a setting; expected one of {known}") from None
    found.check()
    return found
