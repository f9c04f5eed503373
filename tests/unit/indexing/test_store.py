"""Places in messages never show a password."""

import pytest

from bothways.indexing.store import shown


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("notes.index", "notes.index"),
        ("postgresql://me@host/db/t", "postgresql://me@host/db/t"),
        ("postgresql://me:p@host/db/t", "postgresql://me:…@host/db/t"),
        ("postgresql://me:a:b@host:1/db/t?sslmode=require", "postgresql://me:…@host:1/db/t?sslmode=require"),
        ("https://host:6333/notes", "https://host:6333/notes"),
    ],
)
def test_passwords_are_hidden(place: str, expected: str) -> None:
    assert shown(place) == expected
