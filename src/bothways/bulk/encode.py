"""Encodes a source of any size into a folder of shards: `bw.bulk_encode` and `bothways encode`.

    source ─ texts ─ cut ─▶ shards that are not there yet ─▶ processes ─▶ records ─▶ manifest

Texts are read once, as a stream, by this process. In memory are the shards that are being encoded
and one more.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bothways.bulk.model import ModelRequest
from bothways.bulk.settings import ROWS, Settings
from bothways.bulk.shard_folder import ShardFolder
from bothways.bulk.shard_texts import Places, ShardTexts, cut
from bothways.bulk.workers import OneProcess, Processes, Runner
from bothways.errors import InputError
from bothways.locks import held
from bothways.progress import Progress
from bothways.provenance import versions

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

log = logging.getLogger("bothways")

Unit = Literal["line", "document"]


def bulk_encode(
    model: str | Path | Encoder,
    source: str | Path,
    out: str | Path,
    *,
    processes: int = 1,
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
        processes: number of processes. Each holds the model.
        shard_rows: texts of a shard. If None, those of the folder, or 16,384 in a new one.
        column: column of the text. If None, it is found by its name.
        unit: for .txt files, whether each line or each file is a text. If None, each file with
            `chunks`, else each line.
        device: for example "cpu". "auto" with several GPUs gives each process one of them.
        dtype: "auto", "float32", "bfloat16" or "float16".
        **settings: fields of `bothways.bulk.settings.Settings`, for example `truncate_dim=256`.

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
    if processes < 1:
        raise InputError(f"processes: must be at least 1 (got {processes})")
    folder = Path(out)
    runner: Runner
    if not isinstance(model, (str, Path)):
        if processes > 1:
            raise InputError(
                "model: an encoder in memory stays in its process; save it and give its folder, or use processes=1"
            )
        in_memory = model
        name = str(in_memory.provenance.get("base", "encoder"))
        runner = OneProcess(lambda: in_memory, name, chosen, folder)
    else:
        request = ModelRequest(str(model), device, dtype)
        runner = local(request, chosen, folder, processes)
    reader = SourceTexts(source, column, unit or default_unit(chosen))
    return encode_into(folder, runner, reader, shard_rows)


def default_unit(settings: Settings) -> Unit:
    """Return what is a text in a .txt file: a document if it is to be cut into passages."""
    return "line" if settings.chunks is None else "document"


def local(request: ModelRequest, settings: Settings, folder: Path, processes: int) -> Runner:
    """Return the runner for processes on this machine."""
    if processes == 1:
        return OneProcess(request.open, request.name, settings, folder)
    return Processes(request, settings, folder, processes)


class SourceTexts:
    """The texts of a source as a stream, with their places."""

    def __init__(self, source: str | Path, column: str | None, unit: Unit) -> None:
        """Name what to read; see `bulk_encode` for the arguments."""
        self.source, self.column, self.unit = str(source), column, unit

    @property
    def facts(self) -> dict[str, Any]:
        """The source for the manifest. It is not compared, because the texts themselves are."""
        return {"name": self.source, "column": self.column, "unit": self.unit}

    def read(self) -> tuple[Iterator[str], Places]:
        """Return the texts, the first of which has been read, and the file and row of each.

        Raises:
            InputError: if the source is broken or holds no text.
            SourceError: if it cannot be found.
        """
        from bothways.data.text.documents import iter_documents
        from bothways.data.text.readers import iter_texts

        places: Places = deque()
        read = iter_texts if self.unit == "line" else iter_documents
        texts = read(self.source, column=self.column, places=places, splits="all")
        return chain([next(texts)], texts), places


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
            return _fill(state, runner, cut(texts, places, rows))
        finally:
            runner.close()


def _fill(state: ShardFolder, runner: Runner, shards: Iterator[ShardTexts]) -> dict[str, Any]:
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
        for record in runner.run(missing(), state.job):
            state.add(record)
            bar.advance(record.texts)
    if kept:
        log.info("%s: %d of %d shards were there already", state.place, kept, count)
    return state.complete(count)


def _settings(given: dict[str, Any]) -> Settings:
    try:
        found = Settings(**given)
    except TypeError:
        known = ", ".join(Settings.__dataclass_fields__)
        wrong = ", ".join(name for name in given if name not in Settings.__dataclass_fields__)
        raise InputError(f"{wrong}: not a setting; expected one of {known}") from None
    found.check()
    return found
