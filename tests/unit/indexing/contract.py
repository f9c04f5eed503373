"""What every store must do, checked against brute force in float64. Each store's tests call it with
a place of theirs.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bothways as bw
from bothways.errors import InputError
from bothways.similarity import cosine_similarity
from tiny import SENTENCES

TEXTS = [f"{text} {number}" for number in range(6) for text in SENTENCES] + [
    "O'Neill's 100% _sure",
    "twice the same",
    "twice the same",
]
VARIED = sorted({f"{text} {more}" for text in SENTENCES for more in ("", "and so on", "x" * 9, "1 2 3 4 5 6 7 8")})
QUERIES = ["A cat sits", "two plus two", "water in the river", "twice the same"]
WHERES: list[tuple[str, Callable[[str, int, str], bool]]] = [
    ("row <= 7", lambda file, row, text: row <= 7),
    ("row > 3 AND NOT row >= 20", lambda file, row, text: 3 < row < 20),
    ("row IN (1, 5, 9) OR start > 0", lambda file, row, text: row in (1, 5, 9)),
    ("text = 'O''Neill''s 100% _sure'", lambda file, row, text: text == TEXTS[-3]),
    ("row != 2", lambda file, row, text: row != 2),
]
LIKES: list[tuple[str, Callable[[str, int, str], bool]]] = [
    ("text LIKE '%river%'", lambda file, row, text: "river" in text),
    ("text NOT LIKE '%river%' AND file LIKE '%b.txt'", lambda file, row, text: "river" not in text and file.endswith("b.txt")),
    ("text LIKE 'Two plu_ %'", lambda file, row, text: text.startswith("Two plus ")),
    ("text LIKE '%RIVER%'", lambda file, row, text: False),
]


def write_source(folder: Path) -> list[tuple[str, int, str]]:
    """Write TEXTS into two files; return (file, row, text) in order."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name, part in (("a.txt", TEXTS[:30]), ("b.txt", TEXTS[30:])):
        (folder / name).write_text("\n".join(part), encoding="utf-8")
        found += [(str(folder / name), row, text) for row, text in enumerate(part, start=1)]
    return found


def check_store(place: Any, encoder: Any, folder: Path, *, likes: bool = True, exactly: bool = True) -> None:
    """Index a folder, search it, change it, and compare each result with brute force."""
    rows = write_source(folder / "notes")
    made = bw.index(folder / "notes", model=encoder, to=place)
    assert (made.changes.encoded, made.changes.copied, made.changes.rows) == (len(rows) - 1, 1, len(rows))
    check_searches(made, encoder, rows, likes=likes)
    check_hybrid(made, encoder, rows)
    made.close()
    check_updates(place, encoder, folder / "notes")


def check_searches(made: Any, encoder: Any, rows: list[tuple[str, int, str]], *, likes: bool = True) -> None:
    documents = encoder.encode_document([text for *_, text in rows], normalize_embeddings=True).astype(np.float64)
    queries = encoder.encode_query(QUERIES, normalize_embeddings=True).astype(np.float64)
    for query, vector in zip(QUERIES, queries):
        scores = documents @ vector
        for where, allowed in [(None, lambda *row: True), *WHERES, *(LIKES if likes else [])]:
            order = [place for place in np.argsort(-scores, kind="stable") if allowed(*rows[place])]
            found = made.search(query, top=7, where=where)
            assert len(found) == min(7, len(order)), where
            np.testing.assert_allclose([hit.score for hit in found], scores[order[:7]], rtol=0, atol=2e-6)
            for hit in found:
                place = rows.index((hit.file, hit.row, hit.text))
                assert hit.score == pytest.approx(scores[place], abs=2e-6)
                assert hit.span == (0, len(hit.text))
            twice = [hit.row for hit in found if hit.text == "twice the same"]
            assert twice == sorted(twice)
    assert len(made.search(QUERIES[0], top=1000)) == len(rows) == len(made)


def check_hybrid(made: Any, encoder: Any, rows: list[tuple[str, int, str]]) -> None:
    """A naive loop over both rankings, with bm25s itself."""
    import bm25s

    from bothways.search.bm25 import tokenize

    documents = encoder.encode_document([text for *_, text in rows], normalize_embeddings=True).astype(np.float64)
    lexical = bm25s.BM25(k1=1.5, b=0.75, method="lucene", backend="numpy")
    lexical.index([tokenize(text) for *_, text in rows], show_progress=False)
    for query in QUERIES:
        vector = encoder.encode_query([query], normalize_embeddings=True)[0].astype(np.float64)
        words = [word for word in tokenize(query) if word in lexical.vocab_dict]
        weights = lexical.get_scores(words) if words else np.zeros(len(rows))
        for where, allowed in [(None, lambda *row: True), WHERES[1]]:
            dense = [place for place in np.argsort(-np.round(documents @ vector, 6), kind="stable") if allowed(*rows[place])]
            sparse = [place for place in np.argsort(-weights, kind="stable") if weights[place] > 0 and allowed(*rows[place])]
            expected: dict[int, float] = {}
            for ranking in (dense, sparse):
                for rank, place in enumerate(ranking):
                    expected[place] = expected.get(place, 0) + 1 / (60 + rank + 1)
            best = sorted(expected.values(), reverse=True)[:5]
            found = made.search(query, top=5, hybrid=True, where=where)
            assert [hit.score for hit in found] == pytest.approx(best, abs=1e-12)


def check_similarity(place: Any, saved: Path, folder: Path, kind: str, *, approximate: bool = False) -> None:
    """Index with an encoder whose folder names a similarity, and compare with its own `similarity`.

    That is sentence-transformers' function, of vectors that are not of unit length.
    """
    shutil.copytree(saved, folder / kind)
    file = folder / kind / "config_sentence_transformers.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "similarity_fn_name": kind}))
    encoder = bw.load(folder / kind, dtype="float32")
    (folder / "varied.txt").write_text("\n".join(VARIED), encoding="utf-8")
    queries = ["two cats", "the river"]
    theirs = encoder.similarity(encoder.encode_query(queries), encoder.encode_document(VARIED)).numpy()
    cosines = cosine_similarity(encoder.encode_query(queries), encoder.encode_document(VARIED)).numpy()
    assert (np.argsort(-cosines).tolist() == np.argsort(-theirs).tolist()) == (kind == "cosine")
    make: dict[str, Any] = {"model": encoder, "to": place, "approximate": approximate}
    with bw.index(folder / "varied.txt", **make) as made:
        assert made.settings.similarity == kind
        for query, row in zip(queries, theirs):
            best = np.argsort(-row, kind="stable")
            for where, low in ((None, 0), ("row > 12", 12)):
                order = [place for place in best.tolist() if place >= low][:8]
                found = made.search(query, top=8, where=where, exact=True)
                assert [hit.score for hit in found] == pytest.approx(row[order].tolist(), abs=2e-5)
                assert [VARIED.index(hit.text) for hit in found] == order
            if approximate:  # a graph visits all of so few rows
                assert [VARIED.index(hit.text) for hit in made.search(query, top=8)] == best[:8].tolist()
        words = made.search(queries[0], top=3, hybrid=True)
    other: Any = next(each for each in ("cosine", "dot") if each != kind)
    with pytest.raises(InputError, match=f"was made with similarity '{kind}', not '{other}'; give the same --similarity"):
        bw.index(folder / "varied.txt", **make, similarity=other)
    with bw.open_index(place) as opened:  # with the model of the settings
        assert opened.search(queries[0], top=3, hybrid=True) == words


def check_updates(place: Any, encoder: Any, notes: Path) -> None:
    """Nothing changed, a line before all others, a changed line, a removed file, an added source."""
    again = bw.index(notes, model=encoder, to=place)
    assert (again.changes.kept, again.changes.encoded, again.changes.removed) == (len(TEXTS), 0, 0)
    again.close()
    lines = (notes / "a.txt").read_text(encoding="utf-8").split("\n")
    (notes / "a.txt").write_text("\n".join(["a new line", *lines[:-2], "another line"]), encoding="utf-8")
    changed = bw.index(notes, model=encoder, to=place)
    assert (changed.changes.encoded, changed.changes.moved, changed.changes.removed) == (2, 28, 2)
    (hit,) = changed.search("a new line", top=1, where="row = 1 AND text = 'a new line'")
    assert (hit.file, hit.row) == (str(notes / "a.txt"), 1)
    assert changed.search("x", top=100, where="text = 'another line'")
    changed.close()
    (notes / "b.txt").unlink()
    fewer = bw.index(notes, model=encoder, to=place)
    assert (fewer.changes.removed, fewer.changes.encoded, fewer.changes.rows) == (len(TEXTS) - 30, 0, 30)
    assert {hit.file for hit in fewer.search("x", top=100)} == {str(notes / "a.txt")}
    fewer.close()
    more = notes.parent / "more.jsonl"
    more.write_text('{"text": "from another source"}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"also holds texts of .*notes.*--keep.*--drop"):
        bw.index(more, model=encoder, to=place)
    kept = bw.index(more, model=encoder, to=place, others="keep")
    assert (kept.changes.rows, kept.changes.removed, len(kept.settings.sources)) == (31, 0, 2)
    kept.close()
    dropped = bw.index(more, model=encoder, to=place, others="drop")
    assert (dropped.changes.rows, dropped.changes.removed) == (1, 30)
    assert [hit.text for hit in dropped.search("x")] == ["from another source"]
    dropped.close()
