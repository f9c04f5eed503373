"""A pair file as a retrieval collection."""

from __future__ import annotations

import pytest

from bothways.errors import InputError, SourceError
from bothways.evaluation.inputs.pair_collection import read_pair_collection
from unit.evaluation.vectors import write


def test_pairs_become_a_collection(tmp_path):
    rows = [("a", "x"), ("b", "y"), ("c", "x"), ("a", "z"), ("b", "y")]
    path = write(tmp_path / "pairs.jsonl", [{"sentence1": a, "sentence2": b} for a, b in rows])
    data = read_pair_collection(path)
    assert sorted(data.corpus.values()) == ["x", "y", "z"]
    found = {data.queries[q]: {data.corpus[d] for d in judged} for q, judged in data.qrels.items()}
    assert found == {"a": {"x", "z"}, "b": {"y"}, "c": {"x"}}


def test_above_says_which_pairs_count(tmp_path):
    rows = [
        {"query": "a", "document": "x", "score": 5},
        {"query": "a", "document": "y", "score": 4},
        {"query": "b", "document": "z", "score": 0},
    ]
    path = write(tmp_path / "pairs.jsonl", rows)
    data = read_pair_collection(path, above=4)
    assert [data.queries[q] for q in data.qrels] == ["a"]
    assert [{data.corpus[d] for d in judged} for judged in data.qrels.values()] == [{"x"}]
    assert len(data.corpus) == 3
    with pytest.raises(InputError, match="has a column 'score'; set above=NUMBER to say which pairs are relevant"):
        read_pair_collection(path)
    with pytest.raises(InputError, match="no pair is above 9, so nothing is relevant"):
        read_pair_collection(path, above=9)
    plain = write(tmp_path / "plain.jsonl", [{"query": "a", "document": "x"}])
    with pytest.raises(InputError, match="does not have a score or label for above="):
        read_pair_collection(plain, above=1)
    words = write(tmp_path / "nli.jsonl", [{"premise": "a", "hypothesis": "x", "label": "neutral"}])
    with pytest.raises(InputError, match="row 1: column 'label' holds 'neutral', not a number"):
        read_pair_collection(words, above=1)
    for unknown in (float("nan"), "nan"):
        broken = write(tmp_path / "nan.jsonl", [*rows, {"query": "c", "document": "w", "score": unknown}])
        with pytest.raises(InputError, match=r"row 4: column 'score' holds '?nan'?, not a number"):
            read_pair_collection(broken, above=4)
    with pytest.raises(SourceError, match="no such file"):
        read_pair_collection(tmp_path / "none.jsonl")
