"""What `bothways encode` takes for a text, and what it says about texts that are longer than the
encoder's length.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import bothways as bw
from tiny import SENTENCES, tiny_llama
from unit.cli.cli_runner import Run, runner

LINES = [SENTENCES[0] + " " + SENTENCES[1], SENTENCES[2] + " " + SENTENCES[3]]
BOOK = "".join(line + "\n" for line in LINES)
OPTIONS = ["--dtype", "float32", "--device", "cpu"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    bw.convert(tiny_llama(folder / "base"), dtype="float32", device="cpu", max_length=64).save(folder / "encoder")
    return folder / "encoder"


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text(BOOK, encoding="utf-8")
    return path


@pytest.fixture
def run(capsys) -> Run:
    return runner(capsys)


def test_a_text_is_a_line_or_a_document(run: Run, saved: Path, book: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.parquet"
    for unit, texts in (([], LINES), (["--unit", "line"], LINES), (["--unit", "document"], [BOOK])):
        assert run("encode", saved, book, "--out", out, *unit, *OPTIONS).code == 0
        table = pq.read_table(out)
        found = table.column("text").to_pylist()
        assert [text.strip() for text in found] == [text.strip() for text in texts]
        vectors = bw.load(saved, dtype="float32", device="cpu").encode(found, normalize_embeddings=True)
        assert np.abs(np.array(table.column("vector").to_pylist()) - vectors).max() < 1e-4
    done = run("encode", saved, book, "--out", out, "--unit", "page", *OPTIONS)
    assert (done.code, done.err) == (2, "error: --unit page: must be line or document\n")


def test_passages_are_of_documents_unless_lines_are_asked_for(run: Run, saved: Path, book: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.parquet"
    for unit, numbers in (([], [0, 0, 0, 0]), (["--unit", "line"], [0, 0, 1, 1])):
        done = run("encode", saved, book, "--out", out, "--chunks", "sentences", *unit, *OPTIONS)
        assert done.code == 0, done.err
        rows = pq.read_table(out).to_pylist()
        assert [row["document"] for row in rows] == numbers
        assert [row["text"].strip() for row in rows] == list(SENTENCES[:4])


def longer(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in caplog.messages if "longer than" in message]


def test_it_says_how_many_texts_were_cut_or_read_in_windows(run: Run, saved: Path, tmp_path: Path, caplog) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("short\n" + " ".join(SENTENCES) + "\n", encoding="utf-8")
    assert run("encode", saved, texts, "--out", tmp_path / "v.npy", *OPTIONS).code == 0
    assert longer(caplog) == ["1 of 2 texts were longer than the encoder's 64 tokens and were cut"]
    caplog.clear()
    out = ["--out", tmp_path / "v.parquet", "--chunks", "sentences", "--unit", "line"]
    assert run("encode", saved, texts, *out, *OPTIONS).code == 0
    assert longer(caplog) == ["1 of 2 texts were longer than 64 tokens and were read in overlapping windows"]


def test_vectors_name_the_file_and_row_of_their_text(run: Run, saved: Path, tmp_path: Path) -> None:
    """Empty texts have no vector, so the number of a vector is not that of its text's row."""
    folder, out = tmp_path / "texts", tmp_path / "v.parquet"
    folder.mkdir()
    first, second = folder / "a.jsonl", folder / "b.txt"
    rows = ["  ", SENTENCES[0], "", f"{SENTENCES[1]}. {SENTENCES[2]}."]
    first.write_text("".join(json.dumps({"text": text}) + "\n" for text in rows), encoding="utf-8")
    second.write_text(f"\n\n{SENTENCES[3]}\n", encoding="utf-8")
    assert run("encode", saved, folder, "--out", out, *OPTIONS).code == 0
    found = [(row["file"], row["row"], row["text"]) for row in pq.read_table(out).to_pylist()]
    assert found == [(str(first), 2, rows[1]), (str(first), 4, rows[3]), (str(second), 3, SENTENCES[3])]
    assert run("encode", saved, folder, "--out", out, "--chunks", "sentences", *OPTIONS).code == 0
    table = pq.read_table(out)
    assert table.column_names == ["file", "row", "document", "start", "end", "text", "vector"]
    found = [(row["file"], row["row"], row["document"]) for row in table.to_pylist()]
    assert found == [(str(first), 2, 0), (str(first), 4, 1), (str(first), 4, 1), (str(second), 1, 2)]


def test_a_folder_gets_shards(run: Run, saved: Path, book: Path, tmp_path: Path, caplog) -> None:
    done = run("encode", saved, book, "--out", f"{tmp_path}/vectors/", "--shard-rows", 1, "--truncate-dim", 8, *OPTIONS)
    assert (done.code, done.out.splitlines()[0]) == (0, f"{tmp_path}/vectors: 2 vectors of 8 numbers in 2 shards"), done.err
    expected = bw.load(saved, dtype="float32", device="cpu").encode(LINES, truncate_dim=8, normalize_embeddings=True)
    assert np.abs(bw.read_shards(tmp_path / "vectors").array() - expected).max() < 1e-6
    done = run("encode", saved, book, "--out", tmp_path / "vectors", "--truncate-dim", 8, *OPTIONS)
    assert done.code == 0 and "vectors: 2 of 2 shards were there already" in caplog.text
    passages = tmp_path / "passages"
    done = run("encode", saved, book, "--out", passages, "--chunks", "sentences", *OPTIONS)
    assert (done.code, done.out.splitlines()[0]) == (0, f"{passages}: 4 vectors of 32 numbers in 1 shard"), done.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["v.npy", "--processes", 2], "--processes 2: is for shards in a folder; name one, for example --out v/"),
        (["v.parquet", "--shard-rows", 9], "--shard-rows 9: is for shards in a folder; name one, for example --out v/"),
        (["v", "--processes", 0], "--processes 0: must be at least 1"),
        (["v.npy", "--on", "ray"], "--on ray: is for shards in a folder; name one, for example --out v/"),
        (["v", "--on", "spark"], "--on spark: must be ray; leave it out for this machine"),
        (["v", "--prompt-name", "q"], "prompt_name: 'q' is not stored"),
        (["v", "--both", "--prompt", "a"], "--prompt a: does not work with --both"),
        (["v.csv"], "v.csv: must end in .npy or .parquet, or be a folder"),
    ],
)
def test_a_folder_is_refused_before_work(
    run: Run, saved: Path, book: Path, tmp_path: Path, monkeypatch, words: list[object], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("encode", saved, book, "--out", *words, *OPTIONS)
    assert (done.code, done.out) == (2, "") and line in done.err
    assert {path.name for path in tmp_path.iterdir()} == {"book.txt"}


def test_int8_is_measured_on_the_first_texts_and_writes_near_vectors(run, saved, book, tmp_path):
    plain, small = tmp_path / "plain.npy", tmp_path / "small.npy"
    assert run("encode", str(saved), str(book), "--out", str(plain), *OPTIONS).code == 0
    done = run("encode", str(saved), str(book), "--out", str(small), "--quantize", "int8")
    assert done.code == 0 and "int8: cosine to float32 on" in done.out
    a, b = np.load(plain), np.load(small)
    assert a.shape == b.shape and 0.98 < (a * b).sum(1).min() <= (a * b).sum(1).max() < 1 - 1e-9


def test_int8_is_not_for_shards(run, saved, book, tmp_path):
    refused = run("encode", str(saved), str(book), "--out", str(tmp_path / "shards"), "--quantize", "int8")
    assert refused.code == 2 and "--quantize int8: not for a folder of shards" in refused.err
