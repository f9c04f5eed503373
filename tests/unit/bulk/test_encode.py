"""A folder of shards holds what plain `encode` gives; it is continued, and never mixed."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import bothways as bw
from bothways.bulk import encode, shard_file, workers
from bothways.errors import InputError
from unit.bulk.material import CPU, ROWS, TEXTS, files, nearest, reopened, source


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


def test_an_empty_source_makes_nothing(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(InputError, match="holds no text"):
        bw.bulk_encode(model, tmp_path / "empty.txt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_default_unit() -> None:
    assert encode.default_unit(encode.JobSettings()) == "line"
    assert encode.default_unit(encode.JobSettings(chunks=5)) == "document"


def test_a_file_name_that_is_not_utf8(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
        (folder / os.fsdecode(b"caf\xe9.txt")).write_text("one\ntwo")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    made = bw.bulk_encode(model, folder, tmp_path / "out", **CPU)
    assert made["source"]["name"] == f"{tmp_path}/caf\\udce9"
    (table,) = bw.read_shards(tmp_path / "out").tables(["file", "row"])
    assert table.to_pylist()[1] == {"file": f"{tmp_path}/caf\\udce9/caf\\udce9.txt", "row": 2}
