"""config.json of a Pooling: read as sentence-transformers reads it, and written so that it reads the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bothways.encoder.folder.stock_pooling import POOLINGS, StockPooling, is_stock, notes, read, stored
from bothways.errors import InputError


@pytest.mark.parametrize("mode", [*POOLINGS, "+".join(POOLINGS), "mean+bos", "last+weighted_mean+max"])
@pytest.mark.parametrize("include", [True, False])
def test_what_is_written_is_read_here_and_in_sentence_transformers(tmp_path: Path, mode: str, include: bool) -> None:
    from sentence_transformers.models import Pooling

    (tmp_path / "config.json").write_text(json.dumps(stored(mode, width=8, include_prompt=include)))
    assert read(tmp_path / "config.json") == StockPooling(mode, include)
    theirs = Pooling.load(str(tmp_path))
    named = [theirs.pooling_mode] if isinstance(theirs.pooling_mode, str) else list(theirs.pooling_mode)
    assert named == [POOLINGS[part][1] for part in mode.split("+")]
    assert (theirs.include_prompt, theirs.embedding_dimension) == (include, 8)
    assert is_stock(mode)


def test_flags_are_in_the_order_of_sentence_transformers(tmp_path: Path) -> None:
    from sentence_transformers.models import Pooling

    flags = {f"pooling_mode_{name}": True for name in ("lasttoken", "mean_tokens", "cls_token")}
    (tmp_path / "config.json").write_text(json.dumps({"word_embedding_dimension": 8, **flags}))
    assert read(tmp_path / "config.json").mode == "bos+mean+last"
    assert list(Pooling.load(str(tmp_path)).pooling_mode) == ["cls", "mean", "lasttoken"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pooling_mode": 3}, "pooling_mode must be a name or a list of names, and is 3"),
        ({"pooling_mode": []}, r"pooling \[\] cannot be read; known: pooling_mode_cls_token"),
        ({"pooling_mode": ["mean", "median"]}, "pooling median cannot be read"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, config: dict, message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=message):
        read(tmp_path / "config.json")
    assert not is_stock("mean+last_tokens")


def test_loaders_that_cannot_use_several_poolings_are_named() -> None:
    assert notes("mean") == []
    (usual,), (other,) = notes("bos+mean"), notes("mean+bos")
    assert "vLLM, TEI, llama.cpp" in usual and "another order" not in usual
    assert "another order" in other
