"""Causal language modelling: the packing, and the loss and its gradients against transformers'
own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import bothways as bw
from bothways.attention.shifted import ShiftedGroups
from bothways.backbone.adapter.lora import attach
from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.backbone.loading.sources import load_pretrained
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError, UnsupportedFamily
from bothways.objectives.causal_lm import CausalLm, CausalLmConfig
from tiny import SENTENCES, tiny_llama

TEXTS = list(SENTENCES)
GENERATOR = torch.Generator()


def build(folder: Path, adapter: LoraConfig | None = None, **options: Any) -> tuple[Encoder, CausalLm]:
    encoder = bw.convert(folder, direction="causal", dtype="float32", device="cpu")
    encoder.requires_grad_(True)
    if adapter is not None:
        attach(encoder.backbone, adapter)
    head = load_pretrained(folder, dtype="float32", head=True).head
    return encoder, CausalLmConfig(**{"context": 16, **options}).build(encoder, head)


def step(encoder: Encoder, objective: CausalLm, batch: Any, scale: float = 1.0) -> dict[str, Any]:
    return objective.step(encoder, batch, scale=scale, backward=lambda loss: loss.backward(), seed=0)


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "own head"])
def base(request, tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), tie_word_embeddings=request.param)


# --- rows
# ----------------------------------------------------------------------------------------------------------------------


def naive_rows(encoder: Encoder, texts: list[str], context: int) -> list[list[int]]:
    stream: list[int] = []
    for number, text in enumerate(texts):
        stream += [encoder.tokenizer.eos_token_id] * (number > 0) + encoder.tokenizer.encode(text, add_special_tokens=False)
    return [stream[start : start + context] for start in range(0, len(stream) - context + 1, context)]


@pytest.mark.parametrize("context", [16, 7, 2])
def test_documents_are_joined_with_eos_and_cut_to_the_context(tmp_path: Path, context: int) -> None:
    # a tokenizer that adds BOS and EOS of itself: neither belongs inside a row
    encoder, objective = build(tiny_llama(tmp_path, tokenizer={"add_bos": True, "add_eos": True}), context=context)
    assert [list(block.ids) for block in objective.prepare(TEXTS, encoder)] == naive_rows(encoder, TEXTS, context)


def test_every_token_but_a_rows_first_is_a_label(base: Path) -> None:
    encoder, objective = build(base)
    blocks = objective.prepare(TEXTS, encoder)[:3]
    batch = objective.collate(blocks, GENERATOR)
    assert objective.count(batch) == 3 * 15
    expected = [(16 * row + place, block.ids[place + 1]) for row, block in enumerate(blocks) for place in range(15)]
    assert list(zip(batch.places.tolist(), batch.targets.tolist())) == expected
    assert batch.tokens.plan.direction == "causal"


def test_isolated_documents_are_segments_and_do_not_predict_each_other(base: Path) -> None:
    encoder, objective = build(base, isolate_documents=True, context=64)
    batch = objective.collate(objective.prepare(TEXTS, encoder), GENERATOR)
    lengths = batch.tokens.plan.lengths
    assert len(lengths) > len(TEXTS)
    assert objective.count(batch) == sum(lengths) - len(lengths)


# --- loss
# ----------------------------------------------------------------------------------------------------------------------


def transformers_loss(base: Path, blocks: list[Any]) -> tuple[Any, torch.Tensor]:
    """Sum of the loss of AutoModelForCausalLM with `labels`, and the model with its gradients."""
    model = AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager").train()
    rows = torch.tensor([block.ids for block in blocks])
    loss = model(input_ids=rows, labels=rows).loss * len(blocks) * (rows.shape[1] - 1)
    loss.backward()
    return model, loss.detach()


def test_loss_and_every_gradient_equal_transformers_with_labels(base: Path) -> None:
    encoder, objective = build(base, shifted=None, head_chunk=7)
    blocks = objective.prepare(TEXTS, encoder)[:3]
    encoder.train()
    result = step(encoder, objective, objective.collate(blocks, GENERATOR))
    model, expected = transformers_loss(base, blocks)
    torch.testing.assert_close(result.loss_sum, expected, rtol=1e-5, atol=1e-4)
    own: Any = encoder.backbone
    for name, parameter in model.model.named_parameters():
        # sums over 45 labels in float32, in another order
        torch.testing.assert_close(own.get_parameter(name).grad, parameter.grad, rtol=1e-4, atol=1e-4, msg=name)
    head = dict(objective.head.named_parameters())["causal.lm_head.weight"]
    torch.testing.assert_close(head.grad, model.lm_head.weight.grad, rtol=1e-4, atol=1e-4)
    assert (head is own.embed_tokens.weight) == objective.head.tied


def test_scale_and_micro_batches_add_up(base: Path) -> None:
    encoder, objective = build(base)
    blocks = objective.prepare(TEXTS, encoder)[:4]
    encoder.train()
    step(encoder, objective, objective.collate(blocks, GENERATOR), scale=1 / 60)
    embedding: Any = encoder.backbone.embed_tokens.weight  # type: ignore[union-attr]
    whole, embedding.grad = embedding.grad, None
    for part in (blocks[:1], blocks[1:]):
        step(encoder, objective, objective.collate(part, GENERATOR), scale=1 / 60)
    torch.testing.assert_close(embedding.grad, whole, rtol=1e-4, atol=1e-6)


def test_groups_while_training_and_full_attention_in_evaluation(base: Path) -> None:
    plain, shifted = (build(base, shifted=groups) for groups in (None, ShiftedGroups(ratio=0.25)))
    losses = {}
    for name, (encoder, objective) in (("full", plain), ("s2", shifted)):
        batch = objective.collate(objective.prepare(TEXTS, encoder)[:2], GENERATOR)
        for training in (True, False):
            encoder.train(training)
            with torch.no_grad():
                losses[name, training] = float(step_without_backward(encoder, objective, batch))
    assert losses["s2", False] == losses["full", False] == losses["full", True]
    assert abs(losses["s2", True] - losses["full", True]) > 1e-3


def step_without_backward(encoder: Encoder, objective: CausalLm, batch: Any) -> torch.Tensor:
    return objective.step(encoder, batch, scale=1.0, backward=lambda loss: None, seed=0).loss_sum


# --- what trains
# ---------------------------------------------------------------------------------------------------------------

LORA = {"r": 2, "dropout": 0.0, "targets": ("q_proj",)}


def test_the_head_trains_with_tied_embeddings_or_where_every_weight_does(base: Path) -> None:
    def trains(adapter: LoraConfig | None) -> bool:
        return all(parameter.requires_grad for parameter in build(base, adapter)[1].head.parameters())

    tied = build(base)[1].head.tied
    assert trains(None)
    assert trains(LoraConfig(**LORA)) is False
    assert trains(LoraConfig(**LORA, train_whole=("embed", "norm"))) is tied


def test_refusals(base: Path) -> None:
    encoder, objective = build(base)
    with pytest.raises(InputError, match="1 documents hold 0 tokens, fewer than one row of 16; add text, or lower context"):
        objective.prepare([""], encoder)
    with pytest.raises(InputError, match="1 documents hold 15 tokens"):
        objective.prepare([encoder.tokenizer.decode(encoder.tokenizer.encode(" ".join(TEXTS))[:15])], encoder)
    with pytest.raises(InputError, match=r"texts\[1\]: must be a string"):
        objective.prepare(["a", 3], encoder)  # type: ignore[list-item]
    head = objective.head
    with pytest.raises(InputError, match="needs the base model's language-model head"):
        CausalLmConfig().build(encoder, None)
    with pytest.raises(InputError, match="must be causal"):
        CausalLmConfig().build(bw.convert(base, dtype="float32", device="cpu"), head)
    # it would be found out after the training, when decoder and head are put together
    head.decoder_class = torch.nn.Linear
    with pytest.raises(UnsupportedFamily, match="holds its text decoder inside a larger model"):
        CausalLmConfig(context=16).build(encoder, head)
    with pytest.raises(
        InputError, match=r"rows of 513 tokens \(objective.context\), but the model has 512 positions; set rope.context"
    ):
        CausalLmConfig(context=513).build(encoder, head)
    encoder.tokenizer.eos_token = None
    with pytest.raises(InputError, match="no EOS"):
        objective.prepare(TEXTS, encoder)
