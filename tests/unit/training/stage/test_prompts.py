"""Prompts in a recipe: stored with the encoder, and put before the training texts as they are
before the texts of `encode`.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

import bothways as bw
from bothways.data.labeled.example import Example
from bothways.errors import InputError
from bothways.objectives.contrastive import ContrastiveConfig
from bothways.objectives.supervised import SupervisedConfig
from tiny import tiny_llama
from unit.objectives.small_encoder import make_encoder
from unit.training.material import TEXTS, recipe, simcse

SINK = "\n"


def prompted(**prompts: str):
    encoder = make_encoder()[0].train()
    encoder.options.prompts = {"default": SINK, **prompts}
    encoder.options.default_prompt = "default"
    return encoder


def rows_of(batch) -> set[tuple[tuple[int, ...], tuple[bool, ...]]]:
    """Token ids and pool mask of every row of a batch."""
    found = set()
    for part in batch.passes:
        lengths = part.plan.lengths[: part.rows]
        ids, pool = part.input_ids.split(part.plan.lengths), part.pool.split(part.plan.lengths)
        found |= {(tuple(ids[i].tolist()), tuple(pool[i].tolist())) for i in range(len(lengths))}
    return found


def as_encoded(encoder, texts, prompt) -> set[tuple[tuple[int, ...], tuple[bool, ...]]]:
    return {(tuple(row.ids), tuple(row.pool)) for row in encoder.tokenize(texts, prompt=prompt)}


def test_simcse_trains_on_the_rows_that_encode_will_see():
    encoder = prompted()
    objective = ContrastiveConfig(attention_dropout=0.3).build(encoder)
    batch = objective.collate(objective.prepare(TEXTS[:4], encoder), torch.Generator().manual_seed(0))
    expected = as_encoded(encoder, TEXTS[:4], SINK)
    assert rows_of(batch) == expected
    assert all(not pool[0] and pool[-1] for _, pool in expected), "the prompt's token is seen and not pooled"


def test_labelled_rows_without_prompts_take_the_stored_ones():
    encoder = prompted(query="Ask: ")
    objective = SupervisedConfig(negatives=0).build(encoder)
    rows = [Example("one", ("two",)), Example("three", ("four",), query_prompt="Mine: ")]
    batch = objective.collate(objective.prepare(rows, encoder), torch.Generator().manual_seed(0))
    expected = as_encoded(encoder, ["one"], "Ask: ") | as_encoded(encoder, ["three"], "Mine: ")
    assert rows_of(batch) == expected | as_encoded(encoder, ["two", "four"], SINK)


def test_a_recipe_stores_its_prompts_and_every_loader_uses_them(tmp_path):
    chosen = recipe(tmp_path, simcse(), prompts={"default": SINK, "query": "Ask:"}, default_prompt="default")
    encoder = bw.train(chosen, tmp_path / "out", texts=TEXTS)
    assert encoder.prompts == {"default": SINK, "query": "Ask:"} and encoder.options.default_prompt == "default"
    ours = encoder.encode(TEXTS[:3])
    np.testing.assert_array_equal(ours, encoder.encode(TEXTS[:3], prompt=SINK))
    assert np.abs(ours - encoder.encode(TEXTS[:3], prompt="")).max() > 1e-3, (
        "the prompt changes nothing, so the test shows nothing"
    )
    np.testing.assert_array_equal(encoder.encode_query(TEXTS[:3]), encoder.encode(TEXTS[:3], prompt="Ask:"))
    np.testing.assert_array_equal(encoder.encode_document(TEXTS[:3]), ours)
    other = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(TEXTS[:3])
    np.testing.assert_allclose(other, ours, atol=1e-5)


def test_a_default_that_is_no_prompt_is_refused(tmp_path):
    with pytest.raises(InputError, match="default_prompt: 'sink' is not the name of a prompt"):
        recipe(tmp_path, simcse(), default_prompt="sink")
    tiny_llama(tmp_path / "base2")
    with pytest.raises(InputError, match="default_prompt: 'sink' is not the name of a prompt"):
        bw.convert(tmp_path / "base2", default_prompt="sink")
