"""Opens the store that a place names.

notes.index                             a folder, with LanceDB
notes.faiss                             a FAISS file, and its rows next to it
qdrant://localhost:6333/notes           a collection of Qdrant, also as http:// and https://
postgresql://me@localhost/mine/notes    a table of PostgreSQL with pgvector
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bothways.errors import InputError
from bothways.indexing.settings import IndexSettings
from bothways.indexing.store import NO_SIGNS, Store, shown

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_BUSY = "another process is changing this index; wait for it"
QDRANT = ("qdrant", "http", "https")
POSTGRES = ("postgresql", "postgres")


def open_store(place: str | os.PathLike[str], settings: IndexSettings | None = None) -> Store:
    """Open the store at a place.

    Args:
        place: see the top of this file.
        settings: if given, make the index there if there is none, and write its settings.

    Raises:
        InputError: there is no index, it cannot be read, or the place is not one.
        MissingExtra: the library of the store is not installed.
    """
    name = os.fspath(place)
    scheme = scheme_of(name)
    if scheme in QDRANT:
        from bothways.indexing.qdrant_store import QdrantStore

        return QdrantStore(name, settings)
    if scheme in POSTGRES:
        from bothways.indexing.postgres_store import PostgresStore

        return PostgresStore(name, settings)
    if scheme:
        raise InputError(
            f"{shown(name)}: must be a folder, a .faiss file, or begin with qdrant://, http://, https:// or postgresql://"
        )
    path = Path(name).expanduser()
    if path.suffix == ".faiss":
        from bothways.indexing.faiss_store import FaissStore

        return FaissStore(path, settings)
    from bothways.indexing.lance_store import LanceStore

    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file; an index is a folder, or a file that ends in .faiss")
    return LanceStore(path, settings)


def exists(place: str | os.PathLike[str]) -> bool:
    """Tell if there is an index at a place.

    Raises:
        InputError: the place cannot be reached or is not one.
    """
    name = os.fspath(place)
    scheme = scheme_of(name)
    if scheme in QDRANT:
        from bothways.indexing.qdrant_store import has_index as has_qdrant

        return has_qdrant(name)
    if scheme in POSTGRES:
        from bothways.indexing.postgres_store import has_index as has_postgres

        return has_postgres(name)
    from bothways.indexing.faiss_rows import is_begun
    from bothways.indexing.lance_store import is_index

    path = Path(name).expanduser()
    return is_begun(path) if path.suffix == ".faiss" else is_index(path)


def check_signs(place: str | os.PathLike[str]) -> None:
    """Check that the store at a place can keep signs, before anything is read.

    Raises:
        InputError: it is on a server.
    """
    name = os.fspath(place)
    if scheme_of(name):
        raise InputError(NO_SIGNS.format(place=shown(name)))


@contextmanager
def writer(place: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a local place for one writer.

    PostgreSQL holds a lock of its own. A Qdrant server has none.

    Raises:
        InputError: another process writes there.
        OutputError: nothing can be written there.
    """
    from bothways.locks import held

    name = os.fspath(place)
    if scheme_of(name):
        yield
        return
    with held(Path(name).expanduser(), busy=_BUSY):
        yield


def scheme_of(name: str) -> str:
    """Return the scheme of a URL in lower case, or "" for a path."""
    match = _URL.match(name)
    return match[1].lower() if match else ""


def local_settings(place: str | os.PathLike[str]) -> IndexSettings:
    """Read the settings of a local index without its rows, which a stop may have left unfinished.

    Raises:
        InputError: they are damaged.
    """
    from bothways.indexing import faiss_rows, lance_store

    path = Path(place).expanduser()
    if path.suffix == ".faiss":
        return faiss_rows.read_settings(path)
    return lance_store.read_settings(path / lance_store.SETTINGS)
