"""What a job that stopped left, and what of it is used, refused or removed."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import bothways as bw
from bothways.bulk import shard_file, workers
from bothways.errors import InputError, OutputError
from unit.bulk.material import CPU, TEXTS, files, nearest, reopened, source


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


def test_files_of_others_are_refused(model: Path, done: Path, copy: Path, tmp_path: Path) -> None:
    foreign = copy / "shard-000006.parquet"
    pq.write_table(pq.read_table(copy / "shard-000000.parquet").select(["text"]).replace_schema_metadata(None), foreign)
    with pytest.raises(InputError, match=r"shard-000006\.parquet: is not a shard of this folder's job; move it away"):
        bw.bulk_encode(model, done / "texts.jsonl", copy, **CPU)
    for name, content, told in (
        ("notes.txt", "mine", "has no manifest.json, so it is not a folder of encoded shards; name one that .*, or a new one"),
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


def test_another_source_is_named_in_the_manifest(model: Path, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("one\ntwo")
    made = bw.bulk_encode(model, tmp_path / "other.txt", copy, **CPU)
    assert made["source"]["name"] == str(tmp_path / "other.txt")
    assert bw.read_shards(copy).manifest == made and made["texts"] == 2


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {}},
        {"settings": []},
        {"shard_rows": "7"},
        {"dimension": None},
        {"versions": 3},
        {"vectors": "a"},
        {"file": "../texts.jsonl"},
    ],
)
def test_a_manifest_of_wrong_values(model: Path, done: Path, copy: Path, change) -> None:
    """One line, with advice that works. A name never leads out of the folder."""
    manifest = json.loads((copy / "manifest.json").read_text())
    target = manifest["shards"][0] if set(change) & {"vectors", "file"} else manifest
    target.update(change)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    for attempt in (lambda: bw.read_shards(copy), lambda: bw.bulk_encode(model, done / "texts.jsonl", copy, **CPU)):
        with pytest.raises(InputError, match=r"manifest\.json: is damaged .*remove the folder") as raised:
            attempt()
        assert "\n" not in str(raised.value)
