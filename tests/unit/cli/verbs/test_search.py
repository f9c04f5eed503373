"""`bothways search`: words that do not fit together, and results of a source with equal scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import bothways as bw
from bothways.similarity_names import SIMILARITIES
from tiny import SENTENCES, tiny_llama
from unit.cli.cli_runner import Run, runner


@pytest.fixture
def run(capsys) -> Run:
    return runner(capsys)


def test_equal_texts_are_in_order(run: Run, tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base", tokenizer={"add_bos": True})
    bw.convert(base, dtype="float32").save(tmp_path / "mine")
    texts = tmp_path / "t.txt"
    texts.write_text("two\none\n\ntwo\ntwo", encoding="utf-8")
    done = run("search", tmp_path / "mine", texts, "two", "--json")
    ((query,), source) = (json.loads(done.out)["queries"], json.loads(done.out)["source"])
    assert (done.code, source) == (0, str(texts))
    assert [(hit["file"], hit["row"], hit["span"], hit["text"]) for hit in query["results"][:3]] == [
        (str(texts), row, [0, 3], "two") for row in (1, 4, 5)
    ]


def test_texts_kept_as_bits(run: Run, tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base", tokenizer={"add_bos": True})
    encoder = bw.convert(base, dtype="float32")
    encoder.save(tmp_path / "mine")
    lines = [f"{text} {number}" for number, text in enumerate(SENTENCES * 3)]
    (tmp_path / "t.txt").write_text("\n".join(lines), encoding="utf-8")
    words = (
        "search",
        tmp_path / "mine",
        tmp_path / "t.txt",
        "a cat",
        "--top",
        "4",
        "--precision",
        "binary",
        "--dtype",
        "float32",
        "--json",
    )
    signs = np.where(encoder.encode(lines) > 0, 1, -1)
    query = encoder.encode(["a cat"], normalize_embeddings=True)[0].astype(float)
    equal = signs @ np.where(query > 0, 1, -1)
    done = run(*words)
    hits = json.loads(done.out)["queries"][0]["results"]
    assert done.code == 0
    assert [hit["score"] for hit in hits] == pytest.approx(sorted(equal / 32, reverse=True)[:4], abs=1e-6)
    hits = json.loads(run(*words, "--rescore", "50").out)["queries"][0]["results"]
    again = signs @ query / 32**0.5
    assert [hit["text"] for hit in hits] == [lines[place] for place in np.argsort(-again)[:4]]
    assert [hit["score"] for hit in hits] == pytest.approx(sorted(again, reverse=True)[:4], abs=1e-6)


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_texts_are_ranked_by_the_similarity_of_the_folder_or_the_option(run: Run, tmp_path: Path, kind: str) -> None:
    encoder = bw.convert(tiny_llama(tmp_path / "base", tokenizer={"add_bos": True}), dtype="float32")
    encoder.save(tmp_path / "plain")
    encoder.options.similarity = kind  # type: ignore[assignment]
    encoder.save(tmp_path / "mine")
    (tmp_path / "t.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    theirs = encoder.similarity(encoder.encode_query("two cats"), encoder.encode_document(SENTENCES))[0].numpy()
    order = np.argsort(-theirs, kind="stable")[:4]
    for words in ((tmp_path / "mine",), (tmp_path / "plain", "--similarity", kind)):
        done = run("search", words[0], tmp_path / "t.txt", "two cats", *words[1:], "--top", "4", "--json", "--dtype", "float32")
        (query,) = json.loads(done.out)["queries"]
        assert [hit["text"] for hit in query["results"]] == [SENTENCES[place] for place in order]
        assert [hit["score"] for hit in query["results"]] == pytest.approx(theirs[order].tolist(), abs=2e-5)
        assert "rank by cosine" not in done.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["search", "m", "s", "q", "--rescore", "4"], "error: rescore: vectors in float32 are scored exactly already"),
        (["search", "q", "--index", "x", "--precision", "int8"], "error: --precision int8: does not work with --index"),
        (["search", "q", "--index", "missing"], "error: missing: holds no index; make one with: bothways index SOURCE"),
        (["search", "q"], "error: search: needs MODEL SOURCE QUERY, or QUERY --index INDEX"),
        (["search", "m", "s", "q", "--hybrid"], "error: --hybrid: needs --index"),
        (["search", "m", "s", "q", "--where", "row = 1"], "error: --where: needs --index"),
        (
            ["search", "q", "--index", "x", "--similarity", "dot"],
            "error: --similarity dot: does not work with --index, which is asked as it was made; give it to bothways index",
        ),
        (["search", "q", "--index", "x", "--limit", "3"], "error: --limit: does not work with --index"),
    ],
)
def test_one_line_for_what_cannot_be_done(run: Run, tmp_path: Path, monkeypatch, words: list[str], line: str) -> None:
    (tmp_path / "t.txt").write_text("text", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    done = run(*words)
    assert done.code == 2 and done.err.startswith(line) and len(done.err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.txt"]
