"""Reading: damaged folders, and a config that contradicts bothways.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import bothways as bw
from bothways.encoder.encoder import Encoder
from bothways.errors import DirectionError, InputError
from tiny import tiny_llama


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True})


@pytest.fixture
def encoder(base: Path) -> Encoder:
    return bw.convert(base, dtype="float32", device="cpu", pooling="last", prompts={"query": "Suche – 検索: "}, normalize=True)


def load(folder: Path, dtype: str = "float32") -> Encoder:
    return bw.load(folder, dtype=dtype, device="cpu")


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_damaged_folders_name_the_file(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "out")
    for name, content, message in (
        ("bothways.json", '{"format": 2, "direction": "causal"}', "bothways.json: format: "),
        ("bothways.json", '{"format": 1, "direction": "both"}', "bothways.json: direction: .*got 'both'"),
        ("bothways.json", '{"format": 1, "dir', "bothways.json: cannot be read as JSON"),
        ("1_Pooling/config.json", "[", "1_Pooling/config.json: cannot be read as JSON"),
        ("modules.json", "", "modules.json: cannot be read as JSON"),
        ("sentence_bert_config.json", "{", "sentence_bert_config.json: cannot be read as JSON"),
    ):
        kept = (tmp_path / "out" / name).read_bytes()
        (tmp_path / "out" / name).write_text(content)
        with pytest.raises(InputError, match=message) as caught:
            load(tmp_path / "out")
        assert "\n" not in str(caught.value)
        (tmp_path / "out" / name).write_bytes(kept)
    load(tmp_path / "out")


def test_a_config_that_lost_its_direction_is_noticed(encoder: Encoder, tmp_path: Path) -> None:
    """Other loaders would be causal; putting it right in memory would hide that."""
    encoder.save(tmp_path / "out")
    edit(tmp_path / "out" / "config.json", is_causal=True, use_bidirectional_attention=False)
    with pytest.raises(DirectionError, match=r"config.json: says causal attention but bothways.json says bidirectional"):
        load(tmp_path / "out")


@pytest.mark.parametrize(
    ("written", "meant"), [("cos_sim", "cosine"), ("dot_score", "dot"), ("dot_product", "dot"), ("dot", "dot")]
)
def test_similarities_by_the_names_of_functions(encoder: Encoder, tmp_path: Path, written: str, meant: str) -> None:
    encoder.save(tmp_path / "out")
    edit(tmp_path / "out" / "config_sentence_transformers.json", similarity_fn_name=written)
    assert load(tmp_path / "out").similarity_fn_name == meant


def test_a_cache_folder_among_the_settings_has_no_effect(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "out")
    edit(tmp_path / "out" / "sentence_bert_config.json", cache_dir="/somewhere/else")
    assert (load(tmp_path / "out").encode("a text") == encoder.encode("a text")).all()
