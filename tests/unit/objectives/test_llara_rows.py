"""LLaRA's rows: passages that fit, whatever is tokenized together."""

from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from bothways.backbone.adapter.new_tokens import add_tokens, special_ids
from bothways.backbone.loading.sources import load_pretrained
from bothways.data.text.passages import Passage
from bothways.objectives import llara_rows
from bothways.objectives.llara import LlaraConfig
from bothways.recipes.llara import FORMS
from tiny import SENTENCES, tiny_llama

PASSAGES = [
    Passage(SENTENCES[0], SENTENCES[0], SENTENCES[1]),
    Passage(SENTENCES[2], SENTENCES[2], ""),
    Passage("The cat.", "the of!", "It, is."),
    Passage(SENTENCES[3] + " " + SENTENCES[6], SENTENCES[3], SENTENCES[7]),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True, "add_eos": True, "vocab_size": 420})


def made(base: Path, mode: str = "code", *, full: bool = False, direction: str = "causal", **config):
    form = FORMS[mode]
    encoder = bw.convert(base, direction=direction, pooling=form.pooling, prompts=form.prompts, dtype="float32", device="cpu")
    add_tokens(encoder.backbone, encoder.tokenizer, form.new_tokens or (), seed=2)
    encoder.requires_grad_(full)
    head = load_pretrained(base, dtype="float32", device="cpu", head=True).head
    objective = LlaraConfig(**{**form.objective, "max_length": 192, **config}).build(encoder.train(), head)
    return encoder, objective


def test_rows_do_not_depend_on_how_many_are_tokenized_together(base, monkeypatch):
    encoder, objective = made(base)
    rows = objective.prepare(PASSAGES, encoder)
    monkeypatch.setattr(llara_rows, "TOGETHER", 2)
    assert list(objective.prepare(PASSAGES, encoder)) == list(rows)


def test_documents_are_cut_to_rows_that_fit(base):
    encoder, objective = made(base, max_length=128)
    documents = [" ".join(SENTENCES[:4]) * 3, SENTENCES[0]]
    rows = objective.prepare(documents, encoder)
    assert len(rows) > 4 and max(len(row.ids) for row in rows) <= 128
    # half of a row at least is text, or cutting would not be needed
    assert sum(len(row.ids) for row in rows) / len(rows) > 110
    one, two = objective.questions.sizes
    texts = [encoder.tokenizer.decode(row.ids[row.begin : len(row.ids) - one - two]).strip() for row in rows]
    joined = "".join("".join(texts).split())
    assert joined in "".join(documents[0].split()), "passages follow each other; the last one is nobody's input"
    hidden = special_ids(encoder.tokenizer)
    assert not any(set(bag) & hidden for row in rows for bag in row.bags)
