"""`bothways mine` from file to file: what it writes, prints, keeps and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import bothways as bw
from bothways.data.labeled.example import Example
from bothways.data.labeled.labeled_reader import read_examples
from bothways.mining import mine
from tiny import SENTENCES, tiny_llama
from unit.cli.cli_runner import Run, runner

ROWS = [{"query": f"{text} or not", "pos": [text], "neg": [f"{text} {n} not"]} for n, text in enumerate(SENTENCES)]
FREE = ("--perc", "none", "--negatives", 2, "--window", "1:4", "--no-same-label")


@pytest.fixture
def run(capsys) -> Run:
    return runner(capsys)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    base = tiny_llama(tmp_path_factory.mktemp("models") / "base")
    folder = base.parent / "encoder"
    bw.convert(base, dtype="float32", device="cpu", prompts={"query": "Find: "}).save(folder)
    return folder


def test_bm25_with_sample_and_summary(run: Run, rows: Path, tmp_path: Path) -> None:
    out, summary = tmp_path / "mined.jsonl", tmp_path / "summary.json"
    done = run("mine", rows, "--with", "bm25", "--out", out, *FREE, "--sample", 2, "--summary", summary)
    assert done.code == 0, done.err
    found = read_examples(out)
    expected = mine(read_examples(rows), perc=None, negatives=2, window=(1, 4), same_label=False).examples
    assert found == expected
    assert not any("scores" in key for line in out.read_text().splitlines() for key in json.loads(line))
    assert done.out.count("positive ") >= 2
    assert "a known answer" in done.out
    assert f"{out}: 8 rows, {sum(len(row.negatives) for row in found)} negatives" in done.out
    assert json.loads(summary.read_text())["rows"]["all"] == 8
    assert not (tmp_path / "mined.jsonl.mining").exists()


def test_a_model_alone_and_in_a_hybrid(run: Run, rows: Path, model: Path, tmp_path: Path) -> None:
    encoder = bw.load(model, dtype="float32", device="cpu")
    for name, method in ((str(model), "dense"), (f"hybrid:{model}", "hybrid")):
        out = tmp_path / f"{method}.jsonl"
        done = run("mine", rows, "--with", name, "--out", out, *FREE, "--dtype", "float32", "--device", "cpu", "--sample", 0)
        assert done.code == 0, done.err
        options = {"perc": None, "negatives": 2, "window": (1, 4), "same_label": False}
        expected = mine(read_examples(rows), method=method, encoder=encoder, **options).examples
        assert [row.negatives for row in read_examples(out)] == [row.negatives for row in expected]
    query = encoder.encode([("Find: ", ROWS[0]["query"])], normalize_embeddings=True)
    cosine = (query @ encoder.encode(list(expected[0].positives), normalize_embeddings=True).T).item()
    assert read_examples(tmp_path / "dense.jsonl")[0].positive_scores == pytest.approx(
        (cosine,), abs=1e-5
    )  # stored prompt used


def test_a_stopped_run_is_continued_only_when_asked(run: Run, rows: Path, tmp_path: Path, monkeypatch) -> None:
    from bothways.mining.group import MiningGroup

    out, work = tmp_path / "mined.jsonl", tmp_path / "mined.jsonl.mining"
    with monkeypatch.context() as patch:
        plain = MiningGroup.choices_of
        patch.setattr(
            MiningGroup,
            "choices_of",
            lambda self, some: (
                (_ for _ in ()).throw(KeyboardInterrupt) if work.exists() and list(work.glob("rows-*")) else plain(self, some)
            ),
        )
        assert run("mine", rows, "--with", "bm25", "--out", out, *FREE, "--sample", 1).code == 130
    assert not out.exists()
    again = run("mine", rows, "--with", "bm25", "--out", out, *FREE)
    assert again.code == 2
    assert "holds the work of an earlier run; use it with --resume" in again.err
    assert run("mine", rows, "--with", "bm25", "--out", out, *FREE, "--resume", "--keep").code == 0
    assert work.is_dir()
    assert read_examples(out) == mine(read_examples(rows), perc=None, negatives=2, window=(1, 4)).examples


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--window", "2-100"), "--window 2-100: expected FIRST:LAST"),
        (("--window", "9:2"), "window: 9:2"),
        (("--perc", "most"), "--perc most: expected a share"),
        (("--with", "hybrid:"), "names no model"),
        (("--column", "text"), "--column: names a column of --corpus"),
        (("--corpus", "no/such/file.jsonl"), "no such file or folder"),
        (("--out", "mined.csv"), "written as .jsonl"),
        (("--sampling", "best"), "sampling: 'best'"),
        (("--near", "0.9"), "--near: needs an evaluation set"),
        (("--max-score", "0", "--empty", "drop"), "no row has a negative"),
    ],
)
def test_bad_requests_get_one_line_and_write_nothing(run: Run, rows: Path, tmp_path: Path, words, message) -> None:
    out = tmp_path / "out" / "mined.jsonl"
    given = {"--with": "bm25", "--out": out, **dict(zip(words[::2], words[1::2]))}
    done = run("mine", rows, *(word for pair in given.items() for word in pair))
    assert done.code == 2
    assert message in done.err
    assert done.err.strip().splitlines()[-1].startswith("error: ")
    assert not out.exists()
    assert not Path("mined.csv").exists()


def test_rows_in_memory_are_those_of_the_file(rows: Path) -> None:
    assert read_examples(rows)[0] == Example(ROWS[0]["query"], (SENTENCES[0],), (f"{SENTENCES[0]} 0 not",), task="rows")


def test_two_processes_write_what_one_writes(run: Run, rows: Path, model: Path, tmp_path: Path) -> None:
    shared = ("--with", str(model), *FREE, "--dtype", "float32", "--device", "cpu", "--sample", 0)
    written = []
    for count in (1, 2):
        out = tmp_path / f"{count}.jsonl"
        done = run("mine", rows, *shared, "--out", out, "--processes", count)
        assert done.code == 0, done.err
        written.append(read_examples(out))
    assert [row.negatives for row in written[0]] == [row.negatives for row in written[1]]
    for one, two in zip(*written):
        assert one.negative_scores == pytest.approx(two.negative_scores, abs=1e-6)


def test_processes_need_a_model(run: Run, rows: Path, tmp_path: Path) -> None:
    done = run("mine", rows, "--with", "bm25", "--out", tmp_path / "x.jsonl", "--processes", 2)
    assert done.code == 2
    assert "--processes: bm25 ranks by words and encodes nothing; leave it out, or name a model" in done.err
