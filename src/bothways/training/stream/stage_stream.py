"""Opens the data of a stage that streams: its shards, their fingerprint, and a sample of the items.

The fingerprint is over the files' bytes, not over the items, because reading the items would take
as long as an epoch. Files are read once for it, in bounded memory.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import Any

from bothways.data.fingerprint import describe_texts, fingerprint_texts
from bothways.data.labeled.example_reader import ExampleReader
from bothways.data.streams.shards import ShardReader, StreamShard, TextReader, shards_of
from bothways.data.text_sources import hub_revision, resolve_texts
from bothways.errors import InputError
from bothways.training.recipe.data_config import DataConfig

SAMPLE = 1000
"""Items that are read before the first step: the collapse watch, the checks and the proof of the
merge take texts of them."""


@dataclass(frozen=True)
class StageStream:
    """The data of a stage that streams.

    Attributes:
        shards: all of it.
        sample: its first items, in the order of the sources.
        origin: facts of the sources, for provenance.
        fingerprint: SHA-256 (hex) over the bytes of all files, or the revision of a hub dataset.
    """

    shards: tuple[StreamShard, ...]
    sample: list[Any]
    origin: list[dict[str, Any]]
    fingerprint: str


def open_stream(data: DataConfig, wants: str) -> StageStream:
    """Open the sources of a stage.

    Args:
        data: with `stream`.
        wants: kind of the items: "texts", "documents" or "examples".

    Raises:
        InputError: a source cannot be read, cannot stream, or holds nothing.
        SourceError: a source cannot be found.
    """
    reader = _reader(data, wants)
    shards: list[StreamShard] = []
    origin: list[dict[str, Any]] = []
    for source in data.source:
        shards += shards_of(source, reader)
        origin.append(_facts(source))
    opened = (shard.items() for shard in shards)
    sample = list(itertools.islice(itertools.chain.from_iterable(opened), SAMPLE))
    if not sample:
        raise InputError(f"{', '.join(data.source)}: holds no text; give at least one")
    told = [json.dumps({**facts, "source": ""}, sort_keys=True) for facts in origin]
    streamed = [{**facts, "streamed": True} for facts in origin]
    return StageStream(tuple(shards), sample, streamed, fingerprint_texts(told))


def _reader(data: DataConfig, wants: str) -> ShardReader:
    if wants == "examples":
        return ExampleReader(data.dialect, data.query_prompt, data.document_prompt, data.template)
    if wants == "documents" or data.unit == "auto":
        return TextReader.documents(data.column, data.unit)
    return TextReader(data.column)


def _facts(source: str) -> dict[str, Any]:
    facts = describe_texts(source)
    if facts["kind"] == "hub":
        facts["revision"] = hub_revision(resolve_texts(source))
    return facts
