"""evaluate, its results on disk, the registry and the dev metric, with a toy encoder on toy
files.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from bothways.errors import InputError, SourceError
from bothways.evaluation.evaluate import evaluate
from bothways.evaluation.inputs.beir_collection import Collection
from bothways.evaluation.measures.geometry import alignment, uniformity
from bothways.evaluation.tasks.retrieval import Retrieval
from bothways.search.bm25_ranker import BM25

PAIRS = [
    ("a cat sat", "a cat sat down", 4.6),
    ("a cat sat", "the stock fell", 0.2),
    ("the dog ran", "a dog ran off", 4.2),
    ("the dog ran", "prices of stock rose", 0.5),
    ("a bird sang", "a bird was heard", 3.1),
]


class Letters:
    """Counts letters: similar strings get similar vectors."""

    direction = "bidirectional"
    name = "letters"

    def encode(self, texts):
        return np.array([[text.count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for text in texts], dtype=np.float32)


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "dev.jsonl"
    path.write_text("".join(json.dumps({"sentence1": a, "sentence2": b, "score": s}) + "\n" for a, b, s in PAIRS))
    return path


@pytest.fixture
def collection():
    corpus = {"d1": "a cat sat on a mat", "d2": "stock prices rose", "d3": "bird song"}
    return Collection({"q": "cat on mat", "r": "prices"}, corpus, {"q": {"d1": 1}, "r": {"d2": 1}})


def test_same_seed_same_numbers_and_the_seed_reaches_the_random_pairs(pairs):
    spec = f"geometry:{pairs}"
    first, again, other = (evaluate(Letters(), spec, seed=seed)[spec] for seed in (0, 0, 1))
    assert first == again
    assert first["mean_cosine_random"] != other["mean_cosine_random"]
    del first["mean_cosine_random"], other["mean_cosine_random"]
    assert first == other


def test_geometry_takes_close_pairs_for_alignment_and_distinct_sentences_for_the_rest(pairs):
    encode = Letters().encode
    texts = list(dict.fromkeys([a for a, _, _ in PAIRS] + [b for _, b, _ in PAIRS]))
    close = [(a, b) for a, b, score in PAIRS if score > 4]
    record = evaluate(Letters(), f"geometry:{pairs}").records[f"geometry:{pairs}"]
    assert record.metrics["alignment"] == pytest.approx(alignment(encode([a for a, _ in close]), encode([b for _, b in close])))
    assert record.metrics["uniformity"] == pytest.approx(uniformity(encode(texts)))
    assert record.details["sentences"] == len(texts) == 8
    assert record.details["positive_pairs"] == 2
    assert record.details["spectrum"][0] == 1.0


def test_geometry_takes_a_prompt_as_sts_does(pairs):
    class Prompted(Letters):
        def encode(self, texts, prompt=None):
            return super().encode([(prompt or "") + text for text in texts])

    plain, prompted = f"geometry:{pairs}", f"geometry:{pairs}?prompt=aaaa: "
    results = evaluate(Prompted(), [plain, prompted])
    # the same letters in front of every text bring all of them nearer to each other
    assert results[prompted]["mean_cosine"] > results[plain]["mean_cosine"] + 0.05
    assert results.records[prompted].options["prompt"] == "aaaa: "
    assert "prompt" not in results.records[plain].options, "results of before are continued"


def test_bm25_takes_retrieval_and_nothing_else(pairs, collection):
    pytest.importorskip("bm25s", reason="bm25s is not installed (pip install 'bothways[eval]')")
    assert evaluate(BM25(), Retrieval(collection, name="toy")).main == {"toy": 1.0}
    with pytest.raises(InputError, match="BM25 cannot encode: it does not have a method encode"):
        evaluate(BM25(), f"sts:{pairs}")


def test_an_encoder_with_an_attribute_called_rank_is_an_encoder(collection):
    encoder = Letters()
    encoder.rank = 0
    assert evaluate(encoder, Retrieval(collection, name="toy")).main["toy"] > 0


def test_wrong_tasks_fail_before_the_first_text_is_encoded(pairs, tmp_path):
    class Untouched:
        def encode(self, texts):
            raise AssertionError("encoded")

    sts = f"sts:{pairs}"
    for tasks, error, message in [
        ([], InputError, "no task"),
        (["stss:x"], InputError, "unknown task 'stss:x'; did you mean 'sts'"),
        (["sts"], InputError, "task 'sts' needs a path; write sts:PAIRS"),
        ([sts, f"sts:{tmp_path}/none.jsonl"], SourceError, "none.jsonl"),
        ([sts, sts], InputError, "given twice"),
        ([sts, "stdlib:3"], InputError, "does not take an argument"),
    ]:
        with pytest.raises(error, match=message):
            evaluate(Untouched(), tasks)
