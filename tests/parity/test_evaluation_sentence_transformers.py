"""Our scores against sentence-transformers' evaluators, over one SentenceTransformer with random
static embeddings.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator, InformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

from bothways.evaluation.evaluate import evaluate
from bothways.evaluation.inputs.beir_collection import Collection
from bothways.evaluation.tasks.retrieval import Retrieval

WORDS = [f"w{i}" for i in range(300)]
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def model(words: list[str]) -> SentenceTransformer:
    tokenizer = Tokenizer(
        models.WordLevel({"[UNK]": 0, **{word: i for i, word in enumerate(words, start=1)}}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = torch.randn(len(words) + 1, 48, generator=torch.Generator().manual_seed(0))
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")


def texts(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(3, 12))) for _ in range(count)]


def peer_sts(encoder: SentenceTransformer, first: list[str], second: list[str], gold: list[float]) -> dict[str, float]:
    evaluator = EmbeddingSimilarityEvaluator(first, second, gold, similarity_fn_names=["cosine"], write_csv=False)
    return {name.rpartition("_cosine")[0].rpartition("_")[2]: value for name, value in evaluator(encoder).items()}


def test_sts(tmp_path):
    first = texts(150, 0)
    second = [f"{a} {b}" for a, b in zip(first[::-1], texts(150, 1))]
    gold = [float(score) for score in np.random.default_rng(2).integers(0, 26, 150) / 5]
    path = tmp_path / "dev.jsonl"
    rows = [{"sentence1": a, "sentence2": b, "score": score} for a, b, score in zip(first, second, gold)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    encoder = model(WORDS)
    ours = evaluate(encoder, f"sts:{path}")[f"sts:{path}"]
    # theirs computes cosines in float32: an error of 1e-7 in a cosine may swap two neighbours of
    # 150
    assert ours == pytest.approx(peer_sts(encoder, first, second, gold), abs=1e-5)


def test_retrieval():
    corpus = {f"d{i}": text for i, text in enumerate(texts(400, 3))}
    queries = {f"q{i}": text for i, text in enumerate(texts(40, 4))}
    rng = np.random.default_rng(5)
    relevant = {query: {f"d{i}" for i in rng.choice(400, rng.integers(1, 9), replace=False)} for query in queries}
    encoder = model(WORDS)
    qrels = {query: dict.fromkeys(docs, 1) for query, docs in relevant.items()}
    ours = evaluate(encoder, Retrieval(Collection(queries, corpus, qrels), name="toy"))["toy"]
    evaluator = InformationRetrievalEvaluator(
        queries,
        corpus,
        relevant,
        mrr_at_k=[10],
        ndcg_at_k=[10, 100],
        accuracy_at_k=[1],
        precision_recall_at_k=[1, 5, 10, 100],
        map_at_k=[100],
        write_csv=False,
        score_functions={"cosine": lambda a, b: torch.nn.functional.normalize(a) @ torch.nn.functional.normalize(b).T},
    )
    theirs = evaluator(encoder)
    # float64 means over the same order of documents; no two of these random cosines tie
    for name, value in ours.items():
        assert value == pytest.approx(theirs[f"cosine_{name}"], abs=1e-9), name
    assert 0 < ours["ndcg@100"] < 1


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the data folder ../shared/data")
# 79 pairs of STS12 are a sentence with itself: ours ties them, theirs orders them by the rounding
# of float32
@pytest.mark.parametrize(("name", "tolerance"), [("stsb/test.jsonl", 1e-5), ("sts12/test.jsonl.gz", 1e-4)])
def test_sts_on_real_pairs(name, tolerance):
    path = SHARED / name
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rows = [json.loads(line) for line in raw.splitlines()]
    first, second = ([row[side] for row in rows] for side in ("sentence1", "sentence2"))
    words = sorted({word for text in first + second for word in text.split()})
    encoder = model(words)
    ours = evaluate(encoder, f"sts:{path}")[f"sts:{path}"]
    theirs = peer_sts(encoder, first, second, [row["score"] for row in rows])
    # "all": the subsets of STS12 are concatenated, as a plain evaluator does
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=tolerance)
