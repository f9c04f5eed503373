"""PostgreSQL with the real pgvector: the contract of stores, one writer, and one-line errors.

`make stores` runs it against the server that the package pgserver brings. Another server is taken
from the environment variable BOTHWAYS_POSTGRES, for example postgresql://me@localhost/test/TABLE.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

import bothways as bw
from bothways.errors import InputError, MissingExtra, SourceError
from bothways.similarity_names import SIMILARITIES
from unit.indexing.contract import TEXTS, check_similarity, check_store, write_source

HAS_CLIENT = find_spec("psycopg") is not None and find_spec("pgvector") is not None
SERVER = os.environ.get("BOTHWAYS_POSTGRES")


def table(name: str) -> str:
    """A table that no other run has made."""
    assert SERVER is not None
    return SERVER.replace("TABLE", f"{name}_{os.getpid()}")


needs_server = pytest.mark.skipif(not (HAS_CLIENT and SERVER), reason="no client or no server (make stores)")


@needs_server
def test_it_keeps_the_contract(encoder, tmp_path: Path) -> None:
    check_store(table("contract"), encoder, tmp_path)


@needs_server
@pytest.mark.parametrize("kind", SIMILARITIES)
def test_it_ranks_as_the_encoder_says(saved, tmp_path: Path, kind: str) -> None:
    try:
        check_similarity(table(kind), saved, tmp_path, kind, approximate=True)
    except InputError as error:  # the server of pgserver 0.1.4 has pgvector 0.6
        assert kind == "manhattan" and "does not know the manhattan similarity, and 0.7 does" in str(error)


@needs_server
def test_approximate_and_exact(encoder, tmp_path: Path) -> None:
    write_source(tmp_path / "notes")
    exact = bw.index(tmp_path / "notes", model=encoder, to=tmp_path / "exact")
    with bw.index(tmp_path / "notes", model=encoder, to=table("fast"), approximate=True) as fast:
        for query in ("a cat", "two and two"):
            assert fast.search(query, exact=True) == exact.search(query)
            assert len(set(fast.search(query)) & set(exact.search(query))) >= 3


@needs_server
def test_a_second_writer_is_refused(encoder, tmp_path: Path) -> None:
    from bothways.indexing.postgres_store import PostgresStore

    write_source(tmp_path / "notes")
    made = bw.index(tmp_path / "notes", model=encoder, to=table("locked"))
    with pytest.raises(InputError, match="another process is changing this index"):
        PostgresStore(table("locked"), made.settings)
    assert len(bw.open_index(table("locked"), model=encoder)) == len(TEXTS)  # readers are not locked out
    made.close()
    PostgresStore(table("locked"), made.settings).close()


@needs_server
def test_no_condition_reaches_other_tables(encoder, tmp_path: Path) -> None:
    write_source(tmp_path / "notes")
    with bw.index(tmp_path / "notes", model=encoder, to=table("safe")) as made:
        for where in ("text = ''; DROP TABLE safe; --'", "row = (SELECT 1)", "text = '' OR pg_sleep(9) IS NULL"):
            with pytest.raises(InputError, match=r"^where: "):
                made.search("x", where=where)
        assert made.search("x", where="text = '''; DROP TABLE safe; --'") == []
        assert len(made) == len(TEXTS)


@pytest.mark.skipif(not HAS_CLIENT, reason="psycopg and pgvector are not installed (make stores)")
def test_places_that_are_not_tables() -> None:
    for url in ("postgresql://localhost", "postgresql://localhost/db", "postgresql://me:secret@localhost/db/Bad-Name"):
        with pytest.raises(InputError, match="must be like postgresql://") as raised:
            bw.open_index(url)
        assert "secret" not in str(raised.value)
    with pytest.raises(SourceError, match="PostgreSQL did not answer as expected") as raised:
        bw.open_index("postgresql://me:secret@127.0.0.1:9/db/notes")
    assert "\n" not in str(raised.value) and "secret" not in str(raised.value)


@pytest.mark.skipif(HAS_CLIENT, reason="psycopg and pgvector are installed")
def test_the_missing_client_is_named() -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'bothways\[pgvector\]'"):
        bw.open_index("postgresql://localhost/db/notes")
