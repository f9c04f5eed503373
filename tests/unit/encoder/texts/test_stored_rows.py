"""Rows of tokens that are kept in little memory are the tokenizer's own, in the same order."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Sequence

import pytest

import bothways as bw
from bothways.data.labeled.graded_pairs import GradedPair
from bothways.encoder.batch import TokenRow
from bothways.encoder.texts.stored_rows import TOGETHER, OnDemand, stored_rows
from bothways.errors import InputError
from bothways.objectives.contrastive import ContrastiveConfig
from bothways.objectives.graded import GradedConfig
from tiny import SENTENCES, tiny_llama

TEXTS = [f"{SENTENCES[n % 6]} {n}"[: 10 + n % 90] for n in range(2 * TOGETHER + 3)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> bw.Encoder:
    base = tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True})
    return bw.convert(base, dtype="float32", device="cpu", prompts={"ask": "Find:\n"}, default_prompt="ask")


def read(rows: Sequence[TokenRow]) -> list[tuple[list[int], list[bool], tuple[int, ...]]]:
    return [(row.ids, row.pool, row.blocks) for row in rows]


def test_rows_are_those_of_all_texts_at_once(encoder: bw.Encoder) -> None:
    right = read(encoder.tokenize(TEXTS, prompt="Find:\n", max_length=20))
    rows = ContrastiveConfig(max_length=20, attention_dropout=0.1).build(encoder).prepare(TEXTS, encoder)
    assert read(rows) == right and len(rows) == len(TEXTS)
    assert read(rows[-5:]) == right[-5:] and read(rows[600:2:-7]) == right[600:2:-7]
    assert read([rows[-1], rows[TOGETHER]]) == [right[-1], right[TOGETHER]]
    assert all(type(number) is int and type(kept) is bool for number, kept in zip(rows[0].ids, rows[0].pool))
    with pytest.raises(IndexError):
        rows[len(TEXTS)]


def test_pairs_keep_their_rows_and_scores(encoder: bw.Encoder) -> None:
    pairs = [
        GradedPair(first, second, float(n % 5), f"g{n % 3}") for n, (first, second) in enumerate(itertools.pairwise(TEXTS))
    ]
    found = GradedConfig(max_length=20).build(encoder).prepare(pairs, encoder)
    right = read(encoder.tokenize(TEXTS, prompt="Find:\n", max_length=20))
    assert read([pair.first for pair in found]) == right[:-1] and read([pair.second for pair in found]) == right[1:]
    assert [(pair.score, pair.group) for pair in found] == [(float(n % 5), n % 3) for n in range(len(pairs))]


def test_blocks_stay_with_their_row() -> None:
    rows = [TokenRow([n] * n, [n % 2 == 0] * n, [], (n, 1) if n % 3 == 0 else ()) for n in range(8)]
    assert list(stored_rows(range(8), lambda some, first: [rows[number] for number in some])) == rows


def test_a_wrong_text_is_named_by_its_place_among_all(encoder: bw.Encoder) -> None:
    texts = [*TEXTS[: TOGETHER + 5], 7]
    with pytest.raises(InputError, match=rf"^texts\[{TOGETHER + 5}\]: must be a string"):
        stored_rows(texts, lambda some, first: encoder.tokenize(some, first=first))  # type: ignore[arg-type]


def test_a_text_of_100_bytes_takes_less_than_a_kilobyte(encoder: bw.Encoder) -> None:
    texts = [f"{number:08d} {SENTENCES[number % 4]} {SENTENCES[2]}"[:100] for number in range(4 * TOGETHER)]
    objective = ContrastiveConfig(max_length=32, attention_dropout=0.1).build(encoder)
    objective.prepare(texts[:10], encoder)
    tracemalloc.start()
    rows = objective.prepare(texts, encoder)
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(rows, OnDemand) and sum(len(row.ids) for row in rows) == 32 * len(rows)
    assert kept < 300 * len(texts)
    # at most a part of the texts in the form of Python's lists, and the numbers that find copies
    assert most - kept < 400 * len(texts) + 8000 * TOGETHER
