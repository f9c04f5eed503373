"""`bothways index`, then `bothways search --index`: figures, results, JSON, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import bothways as bw
from tiny import SENTENCES, tiny_llama
from unit.cli.cli_runner import Run, runner

OPTIONS = ("--dtype", "float32")


@pytest.fixture
def run(capsys) -> Run:
    return runner(capsys)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    base = tiny_llama(folder / "base", tokenizer={"add_bos": True})
    bw.convert(base, dtype="float32", prompts={"query": "Find:\n"}).save(folder / "mine")
    return folder / "mine"


def test_index_and_search(run: Run, saved: Path, tmp_path: Path) -> None:
    notes, place = tmp_path / "notes.txt", tmp_path / "x.index"
    notes.write_text("\n".join(SENTENCES), encoding="utf-8")
    done = run("index", notes, "--model", saved, "--to", place, *OPTIONS)
    assert (done.code, done.out.splitlines()[0]) == (0, f"{place}: 8 rows; texts: 8 encoded")
    notes.write_text("\n".join([*SENTENCES[1:], "new"]), encoding="utf-8")
    done = run("index", notes, "--model", saved, "--to", place)
    assert done.out.splitlines()[0] == f"{place}: 8 rows; texts: 1 encoded, 7 moved, 1 removed"
    done = run("search", SENTENCES[2], "a river", "--index", place, "--top", "2", "--json")
    first, second = json.loads(done.out)["queries"]
    assert (done.code, first["query"], second["query"]) == (0, SENTENCES[2], "a river")
    encoder = bw.load(saved, dtype="float32")
    documents = encoder.encode_document([*SENTENCES[1:], "new"], normalize_embeddings=True).astype(np.float64)
    scores = documents @ encoder.encode_query([SENTENCES[2]], normalize_embeddings=True)[0].astype(np.float64)
    best = np.argsort(-scores)[:2]
    assert [hit["row"] for hit in first["results"]] == (best + 1).tolist()
    np.testing.assert_allclose([hit["score"] for hit in first["results"]], scores[best], rtol=0, atol=2e-6)
    assert set(first["results"][0]) == {"file", "row", "span", "score", "text"}
    done = run("search", SENTENCES[2], "--index", place, "--top", "1", "--where", "row = 8", "--hybrid")
    assert done.out == f"{SENTENCES[2]}\n  0.0164  {notes}, row 8, 0-3: new\n"


def test_an_index_of_bits_is_searched_as_a_source_is(run: Run, saved: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("\n".join(f"{text} {n}" for n in range(3) for text in SENTENCES), encoding="utf-8")
    bits = ("--precision", "binary", "--rescore", "4")
    done = run("index", tmp_path / "t.txt", "--model", saved, "--to", tmp_path / "x.index", *bits, *OPTIONS)
    assert done.code == 0, done.err
    (found,) = json.loads(run("search", "a cat", "--index", tmp_path / "x.index", "--json").out)["queries"]
    (once,) = json.loads(run("search", saved, tmp_path / "t.txt", "a cat", *bits, "--json", *OPTIONS).out)["queries"]
    assert [hit["text"] for hit in found["results"]] == [hit["text"] for hit in once["results"]]
    assert [hit["score"] for hit in found["results"]] == pytest.approx([hit["score"] for hit in once["results"]], abs=1e-6)
    # other texts are added with what the index says, and another precision is refused
    assert run("index", tmp_path / "t.txt", "--model", saved, "--to", tmp_path / "x.index").code == 0
    done = run("index", tmp_path / "t.txt", "--model", saved, "--to", tmp_path / "x.index", "--precision", "float32")
    assert done.code == 2 and "was made with precision 'binary', not 'float32'; give the same --precision" in done.err


def test_passages_in_a_faiss_file(run: Run, saved: Path, tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="faiss is not installed (pip install 'bothways[mine]')")
    (tmp_path / "book.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    done = run(
        "index", tmp_path / "book.txt", "--model", saved, "--to", tmp_path / "x.faiss", "--chunks", "sentences", *OPTIONS
    )
    assert done.code == 0 and "texts: 1 encoded" in done.out
    done = run("search", "a cat", "--index", tmp_path / "x.faiss", "--where", "start = 0", "--json")
    (hit,) = json.loads(done.out)["queries"][0]["results"]
    assert (hit["span"], hit["text"].strip()) == ([0, len(SENTENCES[0]) + 1], SENTENCES[0])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["index", "t.txt", "--model", "m", "--to", "x", "--chunks", "words"], "error: --chunks words: must be sentences"),
        (["index", "missing.txt", "--model", "m", "--to", "x"], "error: missing.txt: no such file or folder"),
        (["index", "t.txt", "--to", "x"], "error: Missing option '--model'"),
        (["index", "t.txt", "--model", "missing", "--to", "x"], "error: missing: "),
        (["index", "t.txt", "--model", "m", "--to", ""], "error: --to: the value is empty"),
    ],
)
def test_one_line_for_what_cannot_be_done(run: Run, tmp_path: Path, monkeypatch, words: list[str], line: str) -> None:
    (tmp_path / "t.txt").write_text("text", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    done = run(*words)
    assert done.code == 2 and done.err.startswith(line) and len(done.err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.txt"]
