"""Indexes are brought up to date: models that do not fit, passages, one writer, kills, a full disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import bothways as bw
from bothways.errors import InputError, OutputError
from bothways.indexing import places, update
from bothways.locks import held
from tiny import SENTENCES, tiny_llama

SOURCE = Path(bw.__file__).parents[1]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_text("\n".join(SENTENCES), encoding="utf-8")
    return path


def test_other_models_and_settings_are_refused(notes: Path, saved: Path, encoder, tmp_path: Path) -> None:
    place = tmp_path / "x"
    bw.index(notes, model=saved, to=place).close()
    before = (place / "index.json").read_bytes()
    other = bw.convert(tiny_llama(tmp_path / "other", seed=1, tokenizer={"add_bos": True}), dtype="float32", max_length=64)
    for options, message in (
        ({"model": other}, f"holds vectors of {saved}, and "),
        ({"model": tmp_path / "other"}, f"holds vectors of {saved}, and {tmp_path / 'other'} is another model"),
        ({"prompt": "Text: "}, "was made with prompt '', not 'Text: '; give the same --prompt"),
        ({"query_prompt": ""}, "query_prompt 'Find:\\n', not ''; give the same --query-prompt"),
        ({"truncate_dim": 16}, "truncate_dim None, not 16; give the same --truncate-dim"),
        ({"chunks": "sentences", "unit": "line"}, "chunks None, not 'sentences'; give the same --chunks"),
    ):
        with pytest.raises(InputError) as raised:
            bw.index(notes, **{"model": saved, "to": place, **options})
        assert message in str(raised.value) and "\n" not in str(raised.value)
    with pytest.raises(InputError, match="another model"):
        bw.open_index(place, model=other)
    with pytest.raises(InputError, match="another model"):
        bw.open_index(place, model=tmp_path / "other").search("x")
    assert (place / "index.json").read_bytes() == before


@pytest.mark.parametrize(("first", "then"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_the_precision_is_no_other_model(notes: Path, saved: Path, tmp_path: Path, first: str, then: str) -> None:
    bw.index(notes, model=saved, to=tmp_path / "x", dtype=first).close()
    opened = bw.open_index(tmp_path / "x")
    assert str(opened.encoder.dtype) == f"torch.{first}"  # chosen by the index
    assert opened.search(SENTENCES[0])[0].text == SENTENCES[0]
    assert bw.open_index(tmp_path / "x", dtype=then).search(SENTENCES[0])[0].text == SENTENCES[0]
    assert bw.index(notes, model=saved, to=tmp_path / "x").changes.kept == len(SENTENCES)


def test_a_moved_model_is_found_by_its_new_name(notes: Path, saved: Path, encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "before")
    bw.index(notes, model=tmp_path / "before", to=tmp_path / "x").close()
    (tmp_path / "before").rename(tmp_path / "after")
    with pytest.raises(OSError, match="before"):
        bw.open_index(tmp_path / "x").search("x")
    assert bw.open_index(tmp_path / "x", model=tmp_path / "after").search(SENTENCES[0])[0].text == SENTENCES[0]


@pytest.mark.parametrize("chunks", ["sentences", 5])
def test_passages_are_those_of_encode(encoder, tmp_path: Path, chunks) -> None:
    source = tmp_path / "books"
    source.mkdir()
    for number in range(3):
        text = " ".join(SENTENCES[number : number + 5])
        (source / f"{number}.txt").write_text(text, encoding="utf-8")
    made = bw.index(source, model=encoder, to=tmp_path / "x", chunks=chunks)
    texts = [(source / f"{number}.txt").read_text(encoding="utf-8") for number in range(3)]
    expected = encoder.encode_chunks(texts, chunks, normalize_embeddings=True)
    query = encoder.encode_query(["a cat"], normalize_embeddings=True)[0].astype(np.float64)
    scores = {
        (str(source / f"{number}.txt"), span): (vector.astype(np.float64) @ query, texts[number][slice(*span)])
        for number, each in enumerate(expected)
        for span, vector in zip(each.spans, each.vectors)
    }
    found = made.search("a cat", top=1000)
    assert {(hit.file, hit.span): hit.text for hit in found} == {key: text for key, (_, text) in scores.items()}
    for hit in found:
        assert hit.score == pytest.approx(scores[hit.file, hit.span][0], abs=2e-6) and hit.row == 1
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)


def test_leading_numbers_and_prompts(notes: Path, encoder, tmp_path: Path) -> None:
    made = bw.index(notes, model=encoder, to=tmp_path / "x", truncate_dim=8, prompt="Text:\n", query_prompt="Ask:\n")
    documents = encoder.encode(list(SENTENCES), prompt="Text:\n", truncate_dim=8, normalize_embeddings=True)
    query = encoder.encode(["river"], prompt="Ask:\n", truncate_dim=8, normalize_embeddings=True)
    expected = np.sort(documents.astype(np.float64) @ query[0].astype(np.float64))[::-1]
    np.testing.assert_allclose([hit.score for hit in made.search("river", top=8)], expected, rtol=0, atol=2e-6)
    assert made.settings.dimension == 8


def test_equal_texts_are_encoded_once(encoder, tmp_path: Path, monkeypatch) -> None:
    given: list[str] = []
    encode = type(encoder).encode
    monkeypatch.setattr(
        type(encoder), "encode", lambda self, texts, **options: (given.extend(texts), encode(self, texts, **options))[1]
    )
    (tmp_path / "t.txt").write_text("one\ntwo\none\none", encoding="utf-8")
    changes = bw.index(tmp_path / "t.txt", model=encoder, to=tmp_path / "x").changes
    assert sorted(given) == ["one", "two"] and (changes.encoded, changes.copied, changes.rows) == (2, 2, 4)
    (tmp_path / "t.txt").write_text("one\ntwo\none\none\ntwo\nthree", encoding="utf-8")
    changes = bw.index(tmp_path / "t.txt", model=encoder, to=tmp_path / "x").changes
    assert given[2:] == ["three"] and (changes.encoded, changes.copied, changes.rows) == (1, 1, 6)


@pytest.mark.parametrize("name", ["x", "x.faiss"])
def test_a_second_writer_is_refused(notes: Path, encoder, tmp_path: Path, name: str) -> None:
    held_elsewhere = (
        f"from bothways.locks import held\nwith held({str(tmp_path / name)!r}):\n    print('held', flush=True)\n    input()"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    other = subprocess.Popen(
        [sys.executable, "-c", held_elsewhere], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert other.stdin is not None and other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(InputError, match="another process is changing this index"):
        bw.index(notes, model=encoder, to=tmp_path / name)
    other.communicate(b"\n")
    assert bw.index(notes, model=encoder, to=tmp_path / name).changes.rows == len(SENTENCES)
    with held(tmp_path / name):  # the lock is free again
        pass


CHILD = """
import sys, bothways as bw
from bothways.indexing import update
update._TEXTS = 16
bw.index(sys.argv[1], model=sys.argv[2], to=sys.argv[3], dtype="float32")
"""


def test_a_killed_index_goes_on(saved: Path, encoder, tmp_path: Path) -> None:
    source, place = tmp_path / "t.txt", tmp_path / "x"
    source.write_text("\n".join(f"{text} {number}" for number in range(400) for text in SENTENCES), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(source), str(saved), str(place)], env=environment)
    before = 0
    while before < 50:  # rows of some batches
        assert child.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
        before = _rows(place)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = _rows(place)
    assert 50 <= kept < 3200
    settings = places.local_settings(place)
    assert not settings.finished
    made = bw.index(source, model=encoder, to=place)
    assert made.changes.kept == kept and made.changes.encoded == 3200 - kept and len(made) == 3200
    assert made.store.settings().finished
    whole = bw.index(source, model=encoder, to=tmp_path / "whole")
    assert made.search(SENTENCES[0], top=20) == whole.search(SENTENCES[0], top=20)


def _rows(place: Path) -> int:
    try:
        store = places.open_store(place)
        try:
            return store.count()
        finally:
            store.close()
    except InputError:
        return 0


@pytest.mark.parametrize("name", ["x", "x.faiss"])
def test_a_full_disk_is_one_line(encoder, tmp_path: Path, name: str) -> None:
    resource = pytest.importorskip("resource", reason="Windows has no limits of file sizes")
    source = tmp_path / "t.txt"
    source.write_text("\n".join(f"{text} {number}" for number in range(100) for text in SENTENCES), encoding="utf-8")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written") as raised:
            bw.index(source, model=encoder, to=tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(tmp_path / name) in str(raised.value) and "\n" not in str(raised.value)
    made = bw.index(source, model=encoder, to=tmp_path / name)
    assert len(made) == 800 and made.store.settings().finished
    made.close()


@pytest.mark.parametrize("name", ["x", "x.faiss"])
def test_a_stopped_index_goes_on(encoder, tmp_path: Path, name: str, monkeypatch) -> None:
    source, place = tmp_path / "t.txt", tmp_path / name
    source.write_text("\n".join(SENTENCES), encoding="utf-8")
    monkeypatch.setattr(update, "_TEXTS", 3)
    encode = update.Update._encode

    def stopped(self, texts):
        if SENTENCES[4] in texts:
            raise KeyboardInterrupt
        return encode(self, texts)

    monkeypatch.setattr(update.Update, "_encode", stopped)
    with pytest.raises(KeyboardInterrupt):
        bw.index(source, model=encoder, to=place)
    monkeypatch.setattr(update.Update, "_encode", encode)
    assert not places.local_settings(place).finished
    made = bw.index(source, model=encoder, to=place)
    assert (made.changes.kept, made.changes.encoded) == (3, 5)
    assert [hit.text for hit in made.search(SENTENCES[0], top=1, hybrid=True)] == [SENTENCES[0]]
    assert made.settings.finished and len(made) == 8


def test_wrong_values_are_refused_before_anything_is_read(notes: Path, encoder, tmp_path: Path) -> None:
    for options, message in (
        ({"chunks": 0}, "chunks: must be 'sentences' or a number of tokens"),
        ({"chunks": "words"}, "chunks: must be"),
        ({"unit": "page"}, "unit: must be 'line' or 'document'"),
        ({"chunks": 5, "truncate_dim": 8}, "truncate_dim: does not work with chunks"),
        ({"to": "ftp://host/x"}, "must be a folder, a .faiss file, or begin with qdrant://"),
        ({"to": "s3://bucket/x"}, "must be a folder"),
    ):
        with pytest.raises(InputError) as raised:
            bw.index(notes, **{"model": encoder, "to": tmp_path / "x", **options})
        assert message in str(raised.value)
    with pytest.raises(InputError, match="sources: name at least one"):
        bw.index([], model=encoder, to=tmp_path / "x")
    with pytest.raises(OSError, match=r"missing\.txt"):
        bw.index(tmp_path / "missing.txt", model=encoder, to=tmp_path / "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]
    with pytest.raises(OutputError, match="cannot be written"):
        bw.index(notes, model=encoder, to=notes / "x")


@pytest.mark.parametrize("options", [{"truncate_dim": 999}, {"batch_tokens": 0}, {"chunks": 4, "batch_tokens": 0}])
def test_what_the_encoder_cannot_do_leaves_no_index(encoder, tmp_path: Path, options) -> None:
    """Otherwise the next command, which is right, would be refused by the settings of the first."""
    (tmp_path / "t.txt").write_text("one\ntwo")
    with pytest.raises(InputError, match=r"truncate_dim|batch_tokens"):
        bw.index(tmp_path / "t.txt", model=encoder, to=tmp_path / "x", **options)
    assert not (tmp_path / "x").exists()


def test_an_unknown_answer_drops_nothing(encoder, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    bw.index(tmp_path / "a.txt", model=encoder, to=tmp_path / "x").close()
    with pytest.raises(InputError, match="others: must be 'keep' or 'drop' \\(got 'all'\\)"):
        bw.index(tmp_path / "b.txt", model=encoder, to=tmp_path / "x", others="all")
    with bw.open_index(tmp_path / "x", model=encoder) as opened:
        assert [hit.text for hit in opened.search("a")] == ["a.txt"]


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("name", ["x", "x.faiss"])
def test_a_file_name_that_is_not_utf8(encoder, tmp_path: Path, name: str, inside: bool) -> None:
    """As old archives hold them."""
    folder = tmp_path / ("notes" if inside else os.fsdecode(b"caf\xe9"))
    try:
        folder.mkdir()
        (folder / os.fsdecode(b"caf\xe9.txt")).write_text("one\ntwo")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    for kept in (0, 2):
        with bw.index(folder, model=encoder, to=tmp_path / name) as made:
            assert (made.changes.kept, made.changes.rows) == (kept, 2)
            (found,) = made.search("one", where="file LIKE '%caf_udce9.txt'", top=1)
            assert found.file.endswith("/caf\\udce9.txt")
