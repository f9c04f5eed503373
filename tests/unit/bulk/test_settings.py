"""Settings that change a vector are refused in a folder of other ones."""

from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from bothways.errors import InputError
from tiny import tiny_llama
from unit.bulk.material import CPU, files

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
