"""Caches vectors and finished blocks on disk, so that an interrupted mining run can resume.

    WORK/documents-3f2c…/000000.npy     vectors of one model, prompt and corpus
    WORK/queries-91ab…/000000.npy
    WORK/rows-c07d…/000000.json         choices of a block of rows, for one set of options

Each name contains a fingerprint of everything that determines the content, so only matching results
are reused. For example, a run with other limits uses the same vectors and chooses again. If the
caller does not name a folder, a temporary one is used.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from bothways.atomic import atomic_file
from bothways.data.fingerprint import fingerprint_texts
from bothways.errors import InputError, OutputError
from bothways.foreign import read_object
from bothways.locks import is_leftover
from bothways.progress import Progress
from bothways.search import vector_shards
from bothways.search.vector_shards import Shards, Store, encode_shards
from bothways.search.vectors import Role, Vectors

REMOVE = "remove the file, and its rows are mined again"
#: Our folders and files in a kept folder.
_PLACE = re.compile(r"(documents|queries|rows)-[0-9a-f]{20}")
_FILE = re.compile(r"[0-9]{6,}\.(npy|json)|\.[0-9]{6,}\.(npy|json)\.lock")

Prompts = Callable[[int], "str | None"]
"""Maps the number of a text to its prompt, or to None to leave it to the encoder."""


class Work:
    """A folder for intermediate results.

    Args:
        folder: its path.
        kept: whether another run may find it again.
    """

    def __init__(self, folder: Path, *, kept: bool) -> None:
        self.folder, self.kept = folder, kept
        self._count = 0

    def place(self, kind: str, facts: Callable[[], Sequence[str]]) -> Path:
        """Return the folder of one result.

        Args:
            kind: first part of its name, for example "documents".
            facts: returns everything that determines the content. It is called only if the folder
                outlives this run.
        """
        self._count += 1
        if not self.kept:
            return self.folder / f"{kind}-{self._count}"
        return self.folder / f"{kind}-{fingerprint_texts(facts())[:20]}"

    def encode(
        self,
        vectors: Vectors,
        texts: Sequence[str],
        prompts: Prompts,
        role: Role,
        *,
        store: Store,
        show: bool | None,
    ) -> tuple[Shards, str]:
        """Return the vectors of texts, and the name that identifies them.

        Args:
            vectors: the encoder.
            texts: texts to encode.
            prompts: see `Prompts`.
            role: "query" or "document".
            store: type of vectors on disk.
            show: whether to show progress. If None, show it when encoding takes long.
        """

        def facts() -> list[str]:
            alike = [number for number in range(len(texts)) if prompts(number) == prompts(0)]
            model = vectors.fingerprint([texts[number] for number in alike], role, prompts(0))
            asked = fingerprint_texts(
                repr((prompts(number), text)) for number, text in enumerate(texts)
            )
            return [model, store, str(vector_shards.CHUNK), asked]

        place = self.place(f"{role}s" if role == "document" else "queries", facts)
        with Progress(
            f"encode {'documents' if role == 'document' else 'queries'}",
            len(texts),
            "texts",
            show=show,
        ) as bar:

            def encode(first: int, end: int) -> np.ndarray:
                return _by_prompt(vectors, texts, prompts, role, range(first, end))

            return encode_shards(
                place,
                len(texts),
                encode,
                store=store,
                advance=bar.advance,
                at_once=vectors.at_once,
            ), place.name


def _by_prompt(
    vectors: Vectors, texts: Sequence[str], prompts: Prompts, role: Role, numbers: range
) -> np.ndarray:
    """Encode the texts of a run of numbers, those with the same prompt together.

    Raises:
        InputError: if the encoder returns vectors of several widths.
    """
    by_prompt: dict[str | None, list[int]] = {}
    for number in numbers:
        by_prompt.setdefault(prompts(number), []).append(number)
    parts = {
        prompt: vectors([texts[number] for number in some], role, prompt)
        for prompt, some in by_prompt.items()
    }
    widths = sorted({part.shape[1] for part in parts.values()})
    if len(widths) > 1:
        raise InputError(
            f"{vectors.name} returned vectors of {widths[0]} and of {widths[1]} numbers; use one width"
        )
    found = np.empty((len(numbers), widths[0]), dtype=np.float32)
    for prompt, some in by_prompt.items():
        found[np.array(some) - numbers.start] = parts[prompt]
    return found


class Finished:
    """Finished blocks of rows, by number."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, number: int) -> Path:
        """Return the file of a block."""
        return self.folder / f"{number:06d}.json"

    def read(self, number: int) -> dict[str, Any] | None:
        """Read a block, or return None if it was not written."""
        path = self.path(number)
        if not path.is_file():
            return None
        return read_object(path, remedy=REMOVE)

    def write(self, number: int, values: dict[str, Any]) -> None:
        """Write a block, as a whole or not at all."""
        with atomic_file(self.path(number)) as part:
            part.write_text(json.dumps(values), encoding="utf-8")


def is_work(folder: Path) -> bool:
    """Return whether a folder holds results of mining, and not only other files."""
    return folder.is_dir() and any(_PLACE.fullmatch(entry.name) for entry in folder.iterdir())


def remove_work(folder: Path) -> None:
    """Remove the results of mining from a folder.

    If it holds other files, they stay, and so does the folder.
    """
    with suppress(OSError):
        for place in folder.iterdir():
            if not _PLACE.fullmatch(place.name):
                continue
            for file in place.iterdir():
                if _FILE.fullmatch(file.name) or is_leftover(file.name):
                    file.unlink()
            with suppress(OSError):
                place.rmdir()
        (folder / ".lock").unlink(missing_ok=True)
        folder.rmdir()


@contextmanager
def workspace(folder: str | Path | None) -> Iterator[Work]:
    """Open a folder to work in.

    The caller's folder stays, and one run at a time can use it. A temporary folder is removed.

    Raises:
        InputError: if another process is working there.
        OutputError: if the folder cannot be written.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="bothways-mining-") as name:
            yield Work(Path(name), kept=False)
        return
    folder = Path(folder)
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # a lock of the operating system, which ends with a killed run
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{folder}: another process is mining there; wait for it, or choose another output"
        ) from None
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror or error}); choose another folder"
        ) from error
    try:
        yield Work(folder, kept=True)
    finally:
        if made and [entry.name for entry in folder.iterdir()] == [".lock"]:
            remove_work(folder)  # the run stopped before there was anything to keep
        lock.release()


def digest(*parts: object) -> str:
    """Compute a SHA-256 (hex) over JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
