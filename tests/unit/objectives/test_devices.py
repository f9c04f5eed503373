"""A batch moves to the training device as a whole; what the model reads may not stay on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import bothways as bw
from bothways.backbone.adapter.new_tokens import add_tokens
from bothways.backbone.loading.sources import load_pretrained
from bothways.data.labeled.example import Example
from bothways.objectives.causal_lm import CausalLmConfig
from bothways.objectives.contrastive import ContrastiveConfig
from bothways.objectives.llara import LlaraConfig
from bothways.objectives.mntp import MntpConfig
from bothways.objectives.supervised import SupervisedConfig
from bothways.recipes.llara import FORMS
from tiny import tiny_llama
from unit.objectives.small_encoder import TEXTS, make_encoder

ROWS = [
    Example(text, (f"{text} It is.",), (f"{text} It is not.",), positive_scores=(0.9,), negative_scores=(0.1,), label="a")
    for text in TEXTS
]
CHOICES = {
    "mntp": (MntpConfig(row_length=16), TEXTS),
    "causal_lm": (CausalLmConfig(context=16), TEXTS),
    "llara": (LlaraConfig(max_length=128), [" ".join(TEXTS)]),
    "contrastive": (ContrastiveConfig(attention_dropout=0.1), TEXTS),
    "supervised": (SupervisedConfig(attention_dropout=0.1, distillation={}, in_batch="unlabeled"), ROWS),
}
# read on the CPU, to count rows
COUNTED = {"learning"}


def made(kind: str, folder: Path) -> tuple[Any, Any, Any]:
    """The objective, its encoder and items. Two kinds need a head that knows its decoder."""
    config, items = CHOICES[kind]
    if kind not in ("causal_lm", "llara"):
        encoder, causal = make_encoder()
        return config.build(encoder, causal.lm_head), encoder, items
    base, form = tiny_llama(folder, tokenizer={"add_bos": True, "add_eos": True, "vocab_size": 420}), FORMS["code"]
    chosen = {"pooling": form.pooling, "prompts": form.prompts} if kind == "llara" else {}
    encoder = bw.convert(base, direction="causal", dtype="float32", device="cpu", **chosen)
    if kind == "llara":
        add_tokens(encoder.backbone, encoder.tokenizer, form.new_tokens or (), seed=2)
    return config.build(encoder, load_pretrained(base, dtype="float32", head=True).head), encoder, items


def tensors(batch: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(batch, torch.Tensor):
        yield path, batch
    elif is_dataclass(batch):
        for each in fields(batch):
            yield from tensors(getattr(batch, each.name), each.name)
    elif isinstance(batch, (list, tuple)):
        for part in batch:
            yield from tensors(part, path)


@pytest.mark.parametrize("kind", CHOICES)
def test_every_tensor_moves(kind: str, tmp_path: Path) -> None:
    objective, encoder, items = made(kind, tmp_path)
    batch = objective.collate(objective.prepare(items, encoder), torch.Generator().manual_seed(0))
    before = dict(tensors(batch))
    after = dict(tensors(batch.to("meta")))
    assert {name for name, each in after.items() if each.device.type != "meta"} <= COUNTED
    assert before.keys() == after.keys() and len(before) >= 3
    assert all(before[name].shape == after[name].shape for name in before)
    assert objective.count(batch.to("meta")) == objective.count(batch)
