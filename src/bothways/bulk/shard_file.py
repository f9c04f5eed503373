"""One shard as a Parquet file: writes it, and says if a file is the one that the records name."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bothways.bulk.settings import JobSettings
from bothways.bulk.shard_texts import ShardTexts
from bothways.digest import file_sha256
from bothways.errors import InputError, OutputError

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

KEY = "bothways"
"""Name of the facts in the file's own metadata."""
_FOOTER_END = 8  # bytes: the footer's length and "PAR1"


@dataclass(frozen=True)
class ShardRecord:
    """A finished shard, as the manifest lists it.

    Attributes:
        number: number of the shard, from 0.
        file: its name in the folder.
        first: number of its first text among all texts, from 0.
        texts: number of its texts.
        vectors: number of its rows, more than `texts` if each has several passages.
        bytes: size of the file.
        sha256: of the file.
        texts_sha256: of the texts and their places, see `ShardTexts.digest`.
        footer_sha256: see `footer_sha256`. "" in folders that an older bothways wrote.
    """

    number: int
    file: str
    first: int
    texts: int
    vectors: int
    bytes: int
    sha256: str
    texts_sha256: str
    footer_sha256: str = ""

    def values(self) -> dict[str, Any]:
        """Return the record as JSON holds it."""
        return asdict(self)


def write_shard(
    encoder: Encoder, shard: ShardTexts, folder: Path, settings: JobSettings, job: str
) -> ShardRecord:
    """Encode a shard into its file, which appears whole or not at all.

    Args:
        encoder: the encoder.
        shard: the texts.
        folder: folder of the file.
        settings: see `JobSettings`.
        job: digest of everything that the folder's vectors have in common.

    Raises:
        InputError: if a text cannot be encoded. The message names the shard.
        OutputError: if the file cannot be written, or the disk is full.
    """
    from bothways.encoder.vector_files import write_both, write_chunks, write_vectors

    path, places, texts = folder / shard.name, deque(shard.places), shard.texts
    digest = shard.digest()
    facts = {"job": job, "number": shard.number, "first": shard.first, "texts_sha256": digest}
    options, metadata = settings.options, {KEY: json.dumps(facts)}
    try:
        if settings.chunks is not None:
            count = write_chunks(
                encoder, texts, path, settings.chunks, options, places, metadata, shard.first
            )[1]
        elif settings.both:
            count = write_both(encoder, texts, path, options, places, metadata)[0]
        else:
            count = write_vectors(encoder, texts, path, options, places, metadata)[0]
    except InputError as error:
        raise InputError(f"{shard.span}: {error}") from error
    size = path.stat().st_size
    return ShardRecord(
        *(shard.number, shard.name, shard.first, len(texts), count, size),
        *(file_sha256(path), digest, footer_sha256(path)),
    )


def footer_sha256(path: Path) -> str:
    """Return the SHA-256 of a Parquet file's footer.

    Parquet has checksums of pages and none of the footer, where the counts of rows and the names
    of columns are. One wrong bit there can lose rows without an error.

    Raises:
        ValueError: if the file ends in no footer.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _FOOTER_END))
        length = int.from_bytes(file.read(_FOOTER_END)[:4], "little") + _FOOTER_END
        if length > size:
            raise ValueError("the footer is damaged")
        file.seek(size - length)
        return hashlib.sha256(file.read()).hexdigest()


def job_of(path: Path) -> str | None:
    """Return the job that a shard's file says it belongs to, or None if it is not such a file."""
    import pyarrow.parquet as pq

    try:
        facts = json.loads((pq.read_schema(path).metadata or {})[KEY.encode()])
        return str(facts["job"])
    except Exception:  # anything may be in a file of another program
        return None


def damage(path: Path, record: ShardRecord) -> str | None:
    """Return in what way a file is not the one of its record, or None if it is.

    Raises:
        OutputError: if the file cannot be read.
    """
    try:
        if not path.is_file():
            return "is missing"
        size = path.stat().st_size
        if size != record.bytes:
            return f"has {size} bytes and not {record.bytes}"
        return None if file_sha256(path) == record.sha256 else "has another SHA-256"
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror or error})") from error
