"""A loaded model with its adapter opens as by its names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModel, AutoTokenizer

from bothways.compat import LLM2Vec
from bothways.errors import InputError
from unit.compat.chat_model import CHAT, QUERIES, adapter, chat_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_model(tmp_path_factory.mktemp("models") / "tiny")


def test_from_a_model_and_its_tokenizer(base: Path, tmp_path: Path) -> None:
    """As the published model cards load: a PeftModel, merged, inside the class."""
    first = adapter(AutoModel.from_pretrained(base), tmp_path / "mntp", 1)
    expected = LLM2Vec.from_pretrained(base, peft_model_name_or_path=first).encode(QUERIES)
    model = PeftModel.from_pretrained(AutoModel.from_pretrained(base), str(first))
    model.config._name_or_path = CHAT
    l2v = LLM2Vec(model, AutoTokenizer.from_pretrained(base), pooling_mode="mean", max_length=512)
    torch.testing.assert_close(l2v.encode(QUERIES), expected, atol=2e-5, rtol=0)
    with pytest.raises(InputError, match="tokenizer"):
        LLM2Vec(AutoModel.from_pretrained(base))
