"""Indexes that compare signs first: brute force in float64, ties, changes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bothways as bw
from bothways.errors import InputError
from bothways.indexing import sign_search
from bothways.indexing.index_rows import Entry
from bothways.indexing.store import Near
from bothways.search.quantized import Quantization
from unit.indexing.contract import QUERIES, TEXTS, WHERES, write_source

CHOICES = [
    Quantization("binary"),
    Quantization("binary", 1),
    Quantization("binary", 3),
    Quantization("binary", 3, "float32"),
]


@pytest.fixture(scope="module", params=["x.index", "x.faiss"])
def place(request, encoder, tmp_path_factory) -> Path:
    pytest.importorskip("faiss" if request.param == "x.faiss" else "lancedb")
    folder = tmp_path_factory.mktemp("signs")
    write_source(folder / "notes")
    bw.index(folder / "notes", model=encoder, to=folder / request.param, quantization=CHOICES[0]).close()
    return folder / request.param


def expected(documents: np.ndarray, query: np.ndarray, allowed: list[int], top: int, chosen: Quantization) -> dict[int, float]:
    """Rows and scores, by loops over all rows."""
    width = len(query)
    common = {row: int(((documents[row] > 0) == (query > 0)).sum()) for row in allowed}
    first = sorted(allowed, key=lambda row: (-common[row], row))[: top * (chosen.rescore or 1)]
    if chosen.rescore is None:
        scores = {row: (2 * common[row] - width) / width for row in first}
    elif chosen.rescore_with is None:
        scores = {row: float(np.where(documents[row] > 0, 1.0, -1.0) @ query) / width**0.5 for row in first}
    else:
        scores = {row: float(documents[row] @ query) for row in first}
    return {row: scores[row] for row in sorted(first, key=lambda row: (-round(scores[row], 9), row))[:top]}


@pytest.mark.parametrize("chosen", CHOICES, ids=str)
def test_it_is_a_loop_over_all_signs(place: Path, encoder, chosen: Quantization) -> None:
    notes = place.parent / "notes"
    made = bw.index(notes, model=encoder, to=place, quantization=chosen)
    assert made.changes.encoded == 0 and made.settings.quantization == chosen
    rows = [
        (str(notes / name), row) for name, count in (("a.txt", 30), ("b.txt", len(TEXTS) - 30)) for row in range(1, count + 1)
    ]
    documents = encoder.encode_document(TEXTS, normalize_embeddings=True).astype(np.float64)
    for query in QUERIES:
        vector = encoder.encode_query([query], normalize_embeddings=True)[0].astype(np.float64)
        for where, allows in [(None, lambda *row: True), WHERES[0], WHERES[1]]:
            allowed = [n for n, (file, row) in enumerate(rows) if allows(file, row, TEXTS[n])]
            wanted = expected(documents, vector, allowed, 5, chosen)
            found = made.search(query, top=5, where=where)
            assert [rows.index((hit.file, hit.row)) for hit in found] == list(wanted), (query, where)
            np.testing.assert_allclose([hit.score for hit in found], list(wanted.values()), rtol=0, atol=2e-6)
    assert len(made.search(QUERIES[0], top=1000)) == len(TEXTS)
    assert made.search("two plus two", hybrid=True, top=3)
    made.close()


@pytest.mark.parametrize("name", ["y.index", "y.faiss"])
def test_texts_that_change_and_move_keep_their_signs(encoder, tmp_path: Path, name: str) -> None:
    pytest.importorskip("faiss" if name == "y.faiss" else "lancedb")
    chosen = Quantization("binary", rescore=2)
    (tmp_path / "t.txt").write_text("\n".join(TEXTS[:20]), encoding="utf-8")
    bw.index(tmp_path / "t.txt", model=encoder, to=tmp_path / name, quantization=chosen).close()
    (tmp_path / "t.txt").write_text("\n".join([*TEXTS[10:20], "quite new"]), encoding="utf-8")
    made = bw.index(tmp_path / "t.txt", model=encoder, to=tmp_path / name)
    assert made.settings.quantization == chosen
    assert (made.changes.encoded, made.changes.moved, made.changes.removed) == (1, 10, 10)
    fresh = bw.index(tmp_path / "t.txt", model=encoder, to=tmp_path / f"fresh-{name}", quantization=chosen)
    for query in QUERIES:
        assert made.search(query, top=11) == fresh.search(query, top=11)
    made.close()
    fresh.close()


class ManyTies:
    """A store that gives rows with equal signs in the worst order."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def nearest_by_signs(self, query, count, where) -> Near:
        self.asked.append(count)
        rows = range(100)[::-1][:count]
        return Near([Entry(b"", b"", b"", "", "f", row, 0, 1, "") for row in rows], np.tile(query, (len(rows), 1)))


def test_all_rows_that_tie_with_the_last_candidate_are_asked_for() -> None:
    store = ManyTies()
    found = sign_search.nearest_by_signs(store, np.ones(8, np.float32), 3, None, Quantization("binary", 2))  # type: ignore[arg-type]
    assert [entry.row for entry, _ in found] == [0, 1, 2]
    assert store.asked == [22, 44, 88, 176]


@pytest.mark.parametrize(
    ("to", "options", "message"),
    [
        ("qdrant://host:6333/x", {}, "qdrant://host:6333/x: does not keep binary vectors; use a folder"),
        ("postgresql://me@host/db/t", {}, "does not keep binary vectors; use a folder"),
        ("x", {"quantization": Quantization("int8")}, "x: an index keeps float32 or binary, not int8"),
        ("x", {"quantization": Quantization("binary", 2, "int8")}, "x: an index keeps float32 for --rescore-with"),
        ("x", {"approximate": True}, "x: --approximate does not work with --precision binary"),
        ("x", {"similarity": "dot"}, "documents in binary are compared by cosine, not by dot"),
    ],
)
def test_what_cannot_be_done_is_one_line(encoder, tmp_path: Path, monkeypatch, to: str, options: dict, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text("one\ntwo", encoding="utf-8")
    with pytest.raises(InputError) as raised:
        bw.index("t.txt", model=encoder, to=to, **{"quantization": CHOICES[0], **options})
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert not Path("x").exists()
