"""A folder of shards holds what plain `encode` gives; it is continued, and never mixed."""

from __future__ import annotations

import json
import logging
import resource
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import bothways as bw
from bothways.bulk import encode, shard_file, workers
from bothways.errors import BothwaysError, InputError, OutputError
from tiny import tiny_llama
from unit.bulk.material import ROWS, TEXTS, files, nearest, reopened, source

CPU = {"device": "cpu", "dtype": "float32", "shard_rows": ROWS}


@pytest.fixture(scope="module")
def done(model: Path, tmp_path_factory) -> Path:
    """A complete folder."""
    folder = tmp_path_factory.mktemp("done")
    bw.bulk_encode(model, source(folder), folder / "out", **CPU)
    return folder


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    """A copy of the complete folder, to be damaged."""
    return Path(shutil.copytree(done / "out", tmp_path / "out"))


def test_the_shards_hold_what_encode_gives(model: Path, done: Path) -> None:
    encoder = reopened(model)
    tables = [pq.read_table(done / "out" / f"shard-{number:06d}.parquet") for number in range(6)]
    assert [len(table) for table in tables] == [7, 7, 7, 7, 7, 5]
    assert [text for table in tables for text in table["text"].to_pylist()] == TEXTS
    # the fourth row of the file is empty
    assert [row for table in tables for row in table["row"].to_pylist()] == [1, 2, 3, *range(5, 42)]
    assert set(tables[0]["file"].to_pylist()) == {str(done / "texts.jsonl")}
    vectors = np.concatenate([np.array(table["vector"].to_pylist()) for table in tables])
    assert np.abs(vectors - nearest(encoder, TEXTS)).max() < 1e-6
    manifest = json.loads((done / "out" / "manifest.json").read_text())
    assert (manifest["complete"], manifest["texts"], manifest["vectors"]) == (True, 40, 40)
    assert (manifest["dimension"], manifest["shard_rows"]) == (32, ROWS)
    assert [(each["first"], each["texts"]) for each in manifest["shards"]] == [(7 * n, min(7, 40 - 7 * n)) for n in range(6)]
    assert sorted(path.name for path in (done / "out").iterdir()) == ["manifest.json", *(s["file"] for s in manifest["shards"])]


@pytest.mark.parametrize(
    "settings",
    [{"prompt_name": "query"}, {"truncate_dim": 8, "normalize": False}, {"prompt": "Say: ", "batch_tokens": 64}],
    ids=["prompt", "cut", "tokens"],
)
def test_settings_are_those_of_encode(model: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    bw.bulk_encode(model, source(tmp_path), tmp_path / "out", **CPU, **settings)
    expected = reopened(model).encode(
        TEXTS,
        **{
            "normalize_embeddings": True,
            **{{"normalize": "normalize_embeddings"}.get(key, key): value for key, value in settings.items()},
        },
    )  # type: ignore[call-overload]
    assert np.abs(bw.read_shards(tmp_path / "out").array() - expected).max() < 1e-6


def test_passages_are_numbered_over_shards(model: Path, tmp_path: Path) -> None:
    bw.bulk_encode(model, source(tmp_path), tmp_path / "out", **CPU, chunks=5)
    shards = bw.read_shards(tmp_path / "out")
    assert shards.manifest["texts"] == 40 and len(shards) == shards.manifest["vectors"] > 40
    rows = [row for table in shards.tables() for row in table.to_pylist()]
    expected = reopened(model).encode_chunks(TEXTS, 5, normalize_embeddings=True)
    spans = [(number, *span) for number, each in enumerate(expected) for span in each.spans]
    assert [(row["document"], row["start"], row["end"]) for row in rows] == spans
    assert np.abs(shards.array() - np.concatenate([each.vectors for each in expected])).max() < 1e-5


def test_an_encoder_in_memory(model: Path, done: Path, tmp_path: Path) -> None:
    bw.bulk_encode(reopened(model), done / "texts.jsonl", tmp_path / "out", shard_rows=ROWS)
    assert files(tmp_path / "out").keys() == files(done / "out").keys()
    for name, raw in files(tmp_path / "out").items():
        assert raw == files(done / "out")[name] or name == "manifest.json"
    with pytest.raises(InputError, match="an encoder in memory stays in its process"):
        bw.bulk_encode(reopened(model), done / "texts.jsonl", tmp_path / "two", processes=2)


# --- a job that stopped -----------------------------------------------------------------


class Killed(BaseException):
    """Ends a job as SIGKILL does: nothing is cleaned up by the job itself."""


@pytest.mark.parametrize("after", range(7))
@pytest.mark.parametrize("where", ["before", "after"])
def test_a_stopped_job_goes_on_to_the_same_bytes(
    model: Path, done: Path, tmp_path: Path, after: int, where: str, monkeypatch, caplog
) -> None:
    """Stopped before or after a shard is written, and before it is noted."""
    plain, seen = shard_file.write_shard, []

    def dying(*arguments):
        if len(seen) == after and where == "before":
            raise Killed
        record = plain(*arguments)
        if len(seen) == after:
            raise Killed
        seen.append(record.number)
        return record

    monkeypatch.setattr(workers, "write_shard", dying)
    stopped = after < 6
    try:
        bw.bulk_encode(model, done / "texts.jsonl", tmp_path / "out", **CPU)
    except Killed:
        assert stopped
    else:
        assert not stopped
    if stopped:
        with pytest.raises(InputError, match="is not complete; run the same"):
            bw.read_shards(tmp_path / "out")
    count = []
    monkeypatch.setattr(workers, "write_shard", lambda *each: count.append(1) or plain(*each))
    with caplog.at_level(logging.INFO, "bothways"):
        bw.bulk_encode(model, done / "texts.jsonl", tmp_path / "out", **CPU)
    assert len(count) == 6 - min(after, 6)
    assert after == 0 or f"{min(after, 6)} of 6 shards were there already" in caplog.text
    assert files(tmp_path / "out") == files(done / "out")


def test_a_line_that_was_cut_off_is_encoded_again(model: Path, done: Path, copy: Path) -> None:
    """As a power cut leaves it."""
    manifest = json.loads((copy / "manifest.json").read_text())
    lines = [json.dumps(each) + "\n" for each in manifest["shards"]]
    unfinished = {key: value for key, value in manifest.items() if key not in ("texts", "vectors")}
    (copy / "manifest.json").write_text(json.dumps({**unfinished, "complete": False, "shards": []}))
    (copy / "shards.jsonl").write_text("".join(lines[:2]) + lines[2][:40])
    bw.bulk_encode(model, done / "texts.jsonl", copy, **CPU)
    assert files(copy) == files(done / "out")
    (copy / "shards.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"shards\.jsonl, row 1: is damaged .*remove the file"):
        bw.bulk_encode(model, done / "texts.jsonl", copy, **CPU)


@pytest.mark.parametrize("damage", ["bit", "short", "gone"])
def test_a_damaged_shard_is_named_and_encoded_again(model: Path, done: Path, copy: Path, damage: str, caplog) -> None:
    path = copy / "shard-000002.parquet"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 4
    path.unlink()
    if damage != "gone":
        path.write_bytes(raw if damage == "bit" else raw[:-20])
    with pytest.raises(InputError, match=r"shard-000002\.parquet: (has another SHA-256|has \d+ bytes and not|is missing)"):
        bw.read_shards(copy, verify=True)
    bw.bulk_encode(model, done / "texts.jsonl", copy, **CPU)
    assert "shard-000002.parquet: " in caplog.text and "its texts are encoded again" in caplog.text
    assert files(copy) == files(done / "out")


def test_a_source_that_changed(model: Path, done: Path, copy: Path, tmp_path: Path, caplog) -> None:
    """A text in the middle is another one, then the end is gone: the folder follows."""
    texts = [*TEXTS[:20], "another text", *TEXTS[21:]]
    # under the name of the source, which the rows hold
    kept = (done / "texts.jsonl").read_bytes()
    try:
        source(done, texts)
        bw.bulk_encode(model, done / "texts.jsonl", copy, **CPU)
        assert "shard-000002.parquet (texts 14 to 20): the texts have changed since" in caplog.text
        assert caplog.text.count("have changed") == 1
        encoder = reopened(model)
        assert np.abs(bw.read_shards(copy, verify=True).array() - nearest(encoder, texts)).max() < 1e-6
        source(done, texts[:21])
        bw.bulk_encode(model, done / "texts.jsonl", copy, **CPU)
        assert "shard-000005.parquet: removed, because the source is shorter now" in caplog.text
        assert len(bw.read_shards(copy, verify=True)) == 21 and not (copy / "shard-000003.parquet").exists()
    finally:
        (done / "texts.jsonl").write_bytes(kept)


# --- refusals -----------------------------------------------------------------------------


def test_another_model_or_other_settings_are_refused(model: Path, done: Path, copy: Path, tmp_path: Path) -> None:
    before, texts = files(copy), done / "texts.jsonl"
    other = tiny_llama(tmp_path / "other", seed=5)
    with pytest.raises(
        InputError, match=r"out: holds vectors of another model \(.*encoder, float32, [0-9a-f]{12}; this one is .*other"
    ):
        bw.bulk_encode(other, texts, copy, **CPU)
    for settings, told in (
        ({"prompt_name": "query"}, "was encoded with prompt None, now prompt is 'Find: '"),
        ({"truncate_dim": 8}, "was encoded with truncate_dim None, now truncate_dim is 8"),
        ({"chunks": "sentences"}, "was encoded with chunks None, now chunks is 'sentences'"),
        ({"shard_rows": 8}, "has shards of 7 texts, not of 8"),
        ({"dtype": "bfloat16"}, "holds vectors of another model"),
    ):
        with pytest.raises(InputError, match=told):
            bw.bulk_encode(model, texts, copy, **{**CPU, **settings})
    # the same prompt under its name, and the folder's own cut, are the same settings
    bw.bulk_encode(model, texts, copy, **{**CPU, "shard_rows": None, "batch_tokens": 99})
    assert files(copy) == before


def test_files_of_others_are_refused(model: Path, done: Path, copy: Path, tmp_path: Path) -> None:
    foreign = copy / "shard-000006.parquet"
    pq.write_table(pq.read_table(copy / "shard-000000.parquet").select(["text"]).replace_schema_metadata(None), foreign)
    with pytest.raises(InputError, match=r"shard-000006\.parquet: is not a shard of this folder's job; move it away"):
        bw.bulk_encode(model, done / "texts.jsonl", copy, **CPU)
    for name, content, told in (
        ("notes.txt", "mine", "has no manifest.json, so it is not a folder of encoded shards"),
        ("manifest.json", "{}", "expected format 'bothways-shards', version 1"),
        ("manifest.json", '{"format": "bothways-shards", "version": 1}', "manifest.json: is damaged .*missing"),
        ("manifest.json", "{", "cannot be read as JSON"),
    ):
        folder = tmp_path / name.split(".")[0] / str(len(content))
        folder.mkdir(parents=True)
        (folder / name).write_text(content)
        with pytest.raises(InputError, match=told):
            bw.bulk_encode(model, done / "texts.jsonl", folder, **CPU)
        assert (folder / name).read_text() == content and len(list(folder.iterdir())) == 1


def test_bad_arguments(model: Path, done: Path, tmp_path: Path) -> None:
    texts = done / "texts.jsonl"
    for options, told in (
        ({"processes": 0}, "processes: must be at least 1"),
        ({"shard_rows": 0}, "shard_rows: must be at least 1"),
        ({"normalise": True}, "normalise: not a setting; expected one of prompt"),
        ({"both": True, "prompt": "a"}, "prompt: does not work with both"),
        ({"chunks": 5, "truncate_dim": 8}, "truncate_dim: does not work with chunks"),
        ({"truncate_dim": 99}, "truncate_dim: must lie between 1 and 32"),
        ({"prompt_name": "q"}, "prompt_name: 'q' is not stored"),
    ):
        with pytest.raises(InputError, match=told):
            bw.bulk_encode(model, texts, tmp_path / "out", **{**CPU, **options})
    assert not (tmp_path / "out").exists()


def test_a_full_disk_keeps_what_is_finished(model: Path, done: Path, tmp_path: Path, monkeypatch) -> None:
    """RLIMIT_FSIZE is as a disk that is full: the third shard does not fit."""
    plain, seen = shard_file.write_shard, []
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def filling(*arguments):
        if len(seen) == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
        seen.append(1)
        return plain(*arguments)

    monkeypatch.setattr(workers, "write_shard", filling)
    try:
        with pytest.raises(OutputError, match=r"shard-000002\.parquet: cannot be written \(.*File too large\); make room"):
            bw.bulk_encode(model, done / "texts.jsonl", tmp_path / "out", **CPU)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    monkeypatch.undo()
    kept = files(tmp_path / "out")
    assert sorted(kept) == ["manifest.json", "shard-000000.parquet", "shard-000001.parquet", "shards.jsonl"]
    bw.bulk_encode(model, done / "texts.jsonl", tmp_path / "out", **CPU)
    assert files(tmp_path / "out") == files(done / "out")


def test_an_empty_source_makes_nothing(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(InputError, match="holds no text"):
        bw.bulk_encode(model, tmp_path / "empty.txt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_default_unit() -> None:
    assert encode.default_unit(encode.Settings()) == "line"
    assert encode.default_unit(encode.Settings(chunks=5)) == "document"


def test_errors_are_those_of_the_library() -> None:
    assert issubclass(InputError, BothwaysError)
