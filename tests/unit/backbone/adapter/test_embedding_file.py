"""The embedding that FlagEmbedding pickles next to an adapter is used, as its own inference does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModel

import bothways as bw
from bothways.backbone.adapter.embedding_file import FILES
from bothways.errors import InputError
from tiny import tiny_llama

pytestmark = pytest.mark.filterwarnings("ignore")
IDS = torch.arange(5, 25)[None]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    torch.manual_seed(1)
    model = get_peft_model(AutoModel.from_pretrained(base), LoraConfig(r=4, target_modules=["q_proj"]))  # type: ignore[arg-type]
    model.save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / "embedding").mkdir()
    return tmp_path / "adapter"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("more", [0, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_put_in_place(base: Path, adapter: Path, name: str, more: int, dtype: torch.dtype) -> None:
    model = AutoModel.from_pretrained(base)
    embedding = torch.nn.Embedding(len(model.embed_tokens.weight) + more, 32).to(dtype)
    torch.save(embedding, adapter / name)
    model.set_input_embeddings(embedding.float())  # FlagEmbedding's load_model.py
    right = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    ids = torch.cat([IDS, torch.tensor([[embedding.num_embeddings - 1]])], 1)
    encoder = bw.convert(base, adapter=adapter, dtype="float32", device="cpu", direction="causal")
    with torch.no_grad():
        found = encoder.backbone(input_ids=ids).last_hidden_state  # type: ignore[operator]
        assert (found - right(input_ids=ids).last_hidden_state).abs().max() < 1e-5


def test_what_is_not_such_an_embedding_is_refused(base: Path, adapter: Path) -> None:
    file = adapter / FILES[0]
    for held, message in (
        (torch.nn.Embedding(9, 8), r"holds \(9, 8\)"),
        ([1], "holds list"),
        (torch.nn.Linear(2, 2), "cannot be read"),
    ):
        torch.save(held, file)
        with pytest.raises(InputError, match=message) as caught:
            bw.convert(base, adapter=adapter)
        assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    file.write_bytes(b"x")
    with pytest.raises(InputError, match=r"emb\.pth"):
        bw.convert(base, adapter=adapter)
