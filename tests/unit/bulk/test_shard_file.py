"""A shard whose bytes are not the recorded ones is named and encoded again."""

from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from bothways.errors import InputError
from unit.bulk.material import CPU, files


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
