"""Arguments of transformers: some are followed, some do not matter, some are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bothways.compat import LLM2Vec
from bothways.errors import InputError
from unit.compat.chat_model import QUERIES, chat_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_model(tmp_path_factory.mktemp("models") / "tiny")


def test_arguments_of_transformers_are_taken_or_refused_by_name(base: Path) -> None:
    options = {
        "attn_implementation": "sdpa",
        "trust_remote_code": True,
        "token": None,
        "revision": "main",
        "cache_dir": None,
        "low_cpu_mem_usage": True,
        "load_in_8bit": False,
        "device_map": {"": "cpu"},
        "attention_dropout": 0.0,
    }
    expected = LLM2Vec.from_pretrained(base).encode(QUERIES)
    assert torch.equal(LLM2Vec.from_pretrained(base, **options).encode(QUERIES), expected)
    for dtype in (torch.bfloat16, "bfloat16"):
        found = LLM2Vec.from_pretrained(base, torch_dtype=dtype)
        assert next(found.model.parameters()).dtype == torch.bfloat16
        assert found.encode(QUERIES).dtype == torch.float32
    assert next(LLM2Vec.from_pretrained(base, torch_dtype="auto").model.parameters()).dtype == torch.float32
    for wrong, message in (
        ({"load_in_4bit": True}, "load_in_4bit: True cannot be honored; quantized"),
        ({"revision": "v2"}, "revision: 'v2' cannot be honored; download"),
        ({"poling_mode": "mean"}, "unknown argument 'poling_mode'; did you mean 'pooling_mode'"),
        ({"device_map": {"layers.0": 0, "layers.1": 1}}, "device_map: a model is on one device"),
        ({"torch_dtype": "int8"}, "torch_dtype: must be float32"),
        ({"pooling_mode": "median"}, "unknown mode 'median'"),
    ):
        with pytest.raises(InputError, match=message):
            LLM2Vec.from_pretrained(base, **wrong)
