"""Places and the stores that they name."""

import pytest

import bothways as bw
from bothways.errors import InputError
from bothways.indexing import places


def test_schemes() -> None:
    assert places.scheme_of("PostgreSQL://host/db/t") == "postgresql"
    assert places.scheme_of("notes.index") == places.scheme_of("C:\\notes") == places.scheme_of("a/b://c") == ""
    for name in ("ftp://host/x", "s3://bucket/x", "file:///x"):
        with pytest.raises(InputError, match=r"must be a folder, a \.faiss file, or begin with"):
            places.open_store(name)


def test_an_index_exists_or_not(encoder, tmp_path) -> None:
    (tmp_path / "t.txt").write_text("one", encoding="utf-8")
    for name in ("x", "x.faiss"):
        assert not places.exists(tmp_path / name)
        bw.index(tmp_path / "t.txt", model=encoder, to=tmp_path / name).close()
        assert places.exists(tmp_path / name)
        assert places.local_settings(tmp_path / name).finished
