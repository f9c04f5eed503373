"""The prefix test: zero for a causal model, equal to a naive loop for a bidirectional one; the
triples that come with it.
"""

from __future__ import annotations

import json
import re
from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.attention.stock import evaluation_mode, stock
from bothways.encoder.batch import TokenRow
from bothways.encoder.encoder import Encoder
from bothways.errors import DirectionError, InputError
from bothways.evaluation.evaluate import evaluate
from bothways.evaluation.tasks.prefix import Prefix, Triple, prefix_rows
from bothways.pooling import Pooling
from tiny import tiny_llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("prefix") / "llama", tokenizer={"add_bos": True})


def make(folder, direction, **options) -> Encoder:
    return bw.convert(folder, direction=direction, dtype="float32", device="cpu", **options)


def test_a_causal_prefix_does_not_know_what_follows(folder):
    record = evaluate(make(folder, "causal"), "prefix").records["prefix"]
    assert record.metrics == pytest.approx({"share": 0.0, "ties": 1.0, "margin": 0.0}, abs=1e-7)
    assert all(abs(t["cos_same"] - 1) < 1e-6 for t in record.details["triples"])  # three times the same vector


@pytest.mark.parametrize("pooling", ["mean", "last", "weighted_mean"])
def test_equals_a_naive_loop(folder, pooling):
    encoder = make(folder, "bidirectional", pooling=pooling)
    task = Prefix()

    def vector(prefix, rest):
        encoding = encoder.tokenizer(f"{prefix} {rest}", return_offsets_mapping=True)
        ids = torch.tensor([encoding["input_ids"]])
        with evaluation_mode(encoder), stock(encoder.backbone, "eager"):
            states = encoder.backbone(input_ids=ids, use_cache=False).last_hidden_state[0].double()
        mine = states[[t for t, (a, b) in enumerate(encoding["offset_mapping"]) if a < b <= len(prefix)]]
        if pooling == "last":
            return mine[-1]
        weights = torch.arange(1, len(mine) + 1).double() if pooling == "weighted_mean" else torch.ones(len(mine)).double()
        return (mine * weights[:, None]).sum(0) / weights.sum()

    record = evaluate(encoder, task).records["prefix"]
    margins = []
    for triple, found in zip(task.triples, record.details["triples"]):
        query, same, other = (vector(triple.prefix, rest) for rest in (triple.query, triple.same, triple.other))
        near, far = (float(torch.cosine_similarity(query, v, dim=0)) for v in (same, other))
        assert (found["cos_same"], found["cos_other"]) == pytest.approx((near, far), abs=1e-5)
        margins.append(near - far)
    assert record.metrics["margin"] == pytest.approx(np.mean(margins), abs=1e-6)
    assert record.metrics["share"] == pytest.approx(np.mean(np.array(margins) > 1e-5), abs=1e-9)
    assert 0 < record.metrics["share"] < 1
    assert record.metrics["ties"] == 0


def test_an_encoder_that_only_claims_to_be_causal(folder):
    honest = make(folder, "bidirectional")

    class Liar(Encoder):
        def pack(self, rows, fill_to=None):
            return honest.pack(rows, fill_to)

    liar = Liar(honest.backbone, honest.tokenizer, Pooling("mean"), direction="causal")
    with pytest.raises(DirectionError, match=r"says it is causal, but '.*' changes with the words after it"):
        evaluate(liar, "prefix")


class Splits:
    """Tokenises by table: where each sentence is cut. A token's id follows from its characters."""

    def __init__(self, cuts):
        self.cuts = cuts

    def tokenize(self, texts):
        rows = []
        for text, cuts in zip(texts, self.cuts):
            bounds = [0, *cuts, len(text)]
            offsets = list(pairwise(bounds))
            ids = [sum(ord(c) * 131**i for i, c in enumerate(text[a:b])) for a, b in offsets]
            rows.append(TokenRow([7, *ids], [True] * (1 + len(ids)), [(0, 0), *offsets]))
        return rows


@pytest.mark.parametrize(
    ("cuts", "kept"),
    [
        ([[2, 5], [2, 5], [2, 5]], ["ab", " cd"]),
        ([[2, 5], [2, 3, 5], [2, 5]], ["ab"]),  # one sentence splits the last word of the prefix in another way
        ([[2, 7], [2, 7], [2, 7]], ["ab"]),  # one token across the end of the prefix in all three
    ],
)
def test_only_tokens_that_all_three_share_inside_the_prefix_are_pooled(cuts, kept):
    triple = Triple("ab cd", "ef gh", "ef xy", "ef zz")
    rows = prefix_rows(Splits(cuts), [triple])
    for row, sentence in zip(rows, triple.sentences):
        assert len(row.pool) == len(row.ids)
        assert [sentence[a:b] for (a, b), pooled in zip(row.offsets, row.pool) if pooled] == kept


def test_a_prefix_without_a_token_of_its_own():
    with pytest.raises(InputError, match="'ab' has no token that its three sentences share"):
        prefix_rows(Splits([[3], [3], [1]]), [Triple("ab", "ef", "xy", "zz")])


def test_own_triples_and_broken_files(folder, tmp_path):
    path = tmp_path / "triples.jsonl"
    good = {"prefix": "The bat", "query": "flew away.", "same": "slept.", "other": "broke."}
    path.write_text(json.dumps(good))
    assert Prefix(path).triples == [Triple("The bat", "flew away.", "slept.", "broke.")]
    assert len(evaluate(make(folder, "bidirectional"), f"prefix:{path}").records[f"prefix:{path}"].details["triples"]) == 1
    for row, message in [({**good, "same": " "}, "row 1: column 'same'"), ({"prefix": "a"}, "column 'query'")]:
        path.write_text(json.dumps(row))
        with pytest.raises(InputError, match=message):
            Prefix(path)
    path.write_text("")
    with pytest.raises(InputError, match="no rows; give at least one"):
        Prefix(path)

    class Plain:
        def encode(self, texts):
            return np.ones((len(texts), 2))

    with pytest.raises(InputError, match="task 'prefix' needs the states of single tokens"):
        evaluate(Plain(), "prefix")


def test_the_triples_are_many_different_and_packaged():
    triples = Prefix().triples
    assert len(triples) >= 40
    assert len({triple.prefix for triple in triples}) == len(triples)
    sentences = [sentence for triple in triples for sentence in triple.sentences]
    assert len(set(sentences)) == len(sentences)
    for triple in triples:
        assert re.fullmatch(r"[A-Z][a-zA-Z' ]*[a-z]", triple.prefix)  # a sentence begun, its last word the ambiguous one
        assert all(rest.endswith(".") for rest in (triple.query, triple.same, triple.other))
    # packages installed from a wheel hold data files only where pyproject.toml lists them
    root = Path(__file__).resolve().parents[4]
    assert '"evaluation/tasks/prefix_triples.jsonl"' in (root / "pyproject.toml").read_text(encoding="utf-8")
    assert (resources.files("bothways.evaluation.tasks") / "prefix_triples.jsonl").is_file()
