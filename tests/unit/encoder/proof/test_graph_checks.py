"""The doctor's check of a graph, with graphs that are right or wrong in one way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.encoder.batch import TokenRow
from bothways.encoder.module import EncoderModule
from bothways.encoder.proof.check import Check
from bothways.encoder.proof.doctor import doctor
from bothways.encoder.proof.graph_checks import _INSTRUCTION, graph
from tiny import tiny_llama

Rows = Sequence[TokenRow]


class Graph:
    """Computes short requests by torch, after a change of their rows."""

    tokens = 64
    account: Any = None
    waits = False

    def __init__(self, change: Callable[[list[TokenRow]], list[TokenRow] | None] = lambda rows: rows) -> None:
        self.change = change
        self.sizes: list[int] = []

    def __call__(self, encoder: EncoderModule, rows: Rows) -> np.ndarray | None:
        changed = self.change(list(rows))
        if changed is None or sum(len(row.ids) for row in changed) > self.tokens:
            return None
        self.sizes.append(max(len(row.ids) for row in rows))
        return torch.cat([encoder(encoder.pack([row])) for row in changed]).detach().numpy()


def all_pooled(rows: list[TokenRow]) -> list[TokenRow]:
    return [row._replace(pool=[True] * len(row.ids)) for row in rows]


def without_the_last(rows: list[TokenRow]) -> list[TokenRow]:
    """Loses the last of 64 tokens."""
    return [row._replace(ids=row.ids[:63], pool=row.pool[:63]) for row in rows]


def mixed(rows: list[TokenRow]) -> list[TokenRow]:
    return rows[1:] + rows[:1]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> bw.Encoder:
    base = tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True})
    return bw.convert(base, dtype="float32", device="cpu", prompts={"query": "Find a text about this:\n"})


def check_of(encoder: bw.Encoder, made: Any, quick: bool = False) -> Check:
    encoder.graph = made
    try:
        return graph(encoder, "graph", quick)
    finally:
        del encoder.graph


@pytest.mark.parametrize("quick", [False, True])
def test_a_right_graph(encoder: bw.Encoder, quick: bool) -> None:
    made = Graph()
    found = check_of(encoder, made, quick)
    assert found.passed and "gives the same vectors" in found.sentence and 64 in made.sizes
    single = {2, 64} if quick else {1, 2, 32, 63, 64}
    several = 16
    after_prompts = {
        len(encoder.tokenize([(prompt, "Yes, it is.")])[0].ids) for prompt in (_INSTRUCTION, encoder.prompts["query"])
    }
    assert set(made.sizes) == {*single, several, *after_prompts}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (all_pooled, "the graph gives another vector for a text"),
        (without_the_last, "the graph gives another vector for a text of 64 tokens"),
        (mixed, "the graph gives another vector for several texts"),
        (lambda rows: None, "the graph does not compute a text of 1 tokens"),
    ],
)
def test_a_wrong_graph(encoder: bw.Encoder, change: Any, sentence: str) -> None:
    found = check_of(encoder, Graph(change))
    assert not found.passed and found.sentence.startswith(sentence)


@pytest.mark.parametrize("size", [2, 64])
def test_a_graph_that_pools_a_bos_without_a_prompt(encoder: bw.Encoder, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Of each size, because a long text hides one pooled token more."""
    monkeypatch.setattr(encoder.options, "pool_bos", False)
    assert check_of(encoder, Graph()).passed

    def pooled(rows: list[TokenRow]) -> list[TokenRow]:
        return all_pooled(rows) if len(rows) == 1 and len(rows[0].ids) == size else rows

    found = check_of(encoder, Graph(pooled))
    assert not found.passed and found.sentence == f"the graph gives another vector for a text of {size} tokens"


def test_a_graph_that_takes_too_much(encoder: bw.Encoder) -> None:
    class Greedy(Graph):
        def __call__(self, encoder: EncoderModule, rows: Rows) -> np.ndarray | None:
            return torch.cat([encoder(encoder.pack([row])) for row in rows]).detach().numpy()

    found = check_of(encoder, Greedy())
    assert not found.passed and "the graph computes 65 tokens" in found.sentence


def test_an_int8_graph_shows_its_account(encoder: bw.Encoder) -> None:
    class Account:
        mean, least, cosines = 0.999, 0.97, [0.97, 0.999]
        ok = False

    made = Graph()
    made.account = Account()
    found = check_of(encoder, made)
    assert not found.passed and found.figure == "cos 0.9700" and "does not keep the vectors of 2 held texts" in found.sentence


def test_the_doctor_has_the_check_only_with_a_graph(encoder: bw.Encoder) -> None:
    assert "graph" not in {check.name for check in doctor(encoder, quick=True)}
    encoder.graph = Graph()
    try:
        found = doctor(encoder, quick=True)
        encoder.graph.waits = True  # "auto", before it has opened one
        waiting = doctor(encoder, quick=True)
    finally:
        del encoder.graph
    assert found.ok and "graph" in {check.name for check in found}
    assert waiting.ok and "graph" not in {check.name for check in waiting}
