"""Retrieval tasks: collections out of pair files, cutoffs, prompts, the FAISS backend, and
exactness whatever the blocks.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from bothways.errors import InputError
from bothways.evaluation.inputs.beir_collection import Collection
from bothways.evaluation.registry import make_task
from bothways.evaluation.task import RunOptions
from bothways.evaluation.tasks.retrieval import Retrieval
from bothways.search import dense as dense_module
from bothways.search import ranker as ranker_module
from bothways.search.bm25_ranker import BM25
from bothways.search.ranker import DenseRanker
from bothways.similarity import similarity_of
from unit.evaluation.vectors import Written, write, written

OPTIONS = RunOptions()
DOCS, QUERIES = 500, 40


def collection(seed: int = 0) -> Collection:
    rng = np.random.default_rng(seed)
    corpus = {f"d{i:03d}": text for i, text in enumerate(written(rng.standard_normal((DOCS, 8))))}
    queries = {f"q{i:03d}": text for i, text in enumerate(written(rng.standard_normal((QUERIES, 8))))}
    qrels = {query: {f"d{i:03d}": int(rng.integers(0, 3)) for i in rng.choice(DOCS, 5, replace=False)} for query in queries}
    return Collection(queries, corpus, {**qrels, "q000": {"d001": 1}})


def test_block_and_chunk_sizes_change_nothing(monkeypatch):
    data = collection()
    found = []
    for query_block, document_block, chunk in ((256, 8192, 32768), (7, 33, 100), (3, 11, 500), (40, 500, 17)):
        monkeypatch.setattr(dense_module, "QUERY_TILE", query_block)
        monkeypatch.setattr(dense_module, "DOCUMENT_BLOCK", document_block)
        monkeypatch.setattr(ranker_module, "ENCODE_CHUNK", chunk)
        found.append(DenseRanker(Written()).rank(data.queries, data.corpus, depth=100))
    for other in found[1:]:
        assert np.array_equal(other.index, found[0].index)
        # a product of 8 float32 numbers may differ in its last bit with the shape of the matrices
        assert np.abs(other.scores - found[0].scores).max() < 1e-6


def beir(folder, data):
    write(folder / "corpus.jsonl", [{"_id": i, "text": text} for i, text in data.corpus.items()])
    write(folder / "queries.jsonl", [{"_id": i, "text": text} for i, text in data.queries.items()])
    lines = [f"{q}\t{d}\t{g}" for q, judged in data.qrels.items() for d, g in judged.items()]
    (folder / "qrels").mkdir()
    (folder / "qrels" / "dev.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    return folder


def test_folder_options(tmp_path):
    folder = beir(tmp_path / "set", collection())
    task = make_task(f"retrieval:{folder}?split=dev&k=3,1&query_prompt=Find: &document_prompt=")
    encoder = Written()
    metrics = task.run(encoder, OPTIONS).metrics
    assert set(metrics) == {f"{name}@{k}" for name in ("ndcg", "recall", "mrr", "map") for k in (1, 3, 10)}
    assert [call[:2] for call in encoder.calls] == [("query", "Find: "), ("document", "")]
    plain = make_task(f"retrieval:{folder}?split=dev")
    own = Written()
    # the default cutoffs, on the same ranking
    assert plain.run(own, OPTIONS).metrics["ndcg@10"] == metrics["ndcg@10"]
    assert [call[1] for call in own.calls] == [None, None]
    assert json.loads(json.dumps(task.settings)) == {
        **plain.settings,
        "k": [1, 3, 10],
        "query_prompt": "Find: ",
        "document_prompt": "",
    }
    for options, message in [
        ("split=dev&k=0", "cutoffs k must be at least 1"),
        ("split=dev&above=3", "above= is for files of pairs"),
        ("split=dev&backend=gpu", "backend must be one of exact, faiss"),
        ("", r"qrels/test\.tsv: no such file, gzipped or not"),
    ]:
        with pytest.raises(InputError, match=message):
            make_task(f"retrieval:{folder}" + (f"?{options}" if options else ""))


def test_a_pair_file_is_a_task(tmp_path):
    texts = written(np.random.default_rng(0).standard_normal((20, 6)))
    rows = [{"query": text, "positive": text + " again"} for text in texts]
    task = make_task(f"retrieval:{write(tmp_path / 'd' / 'test.jsonl', rows).parent}")
    assert task.run(Written(), OPTIONS).metrics["mrr@10"] == 1.0


def test_prompts_are_for_encoders():
    class Lexical:
        def rank(self, queries, corpus, *, depth, ignore_identical_ids=False):
            raise AssertionError("ranked")

    task = Retrieval(collection(), name="toy", query_prompt="Find: ")
    with pytest.raises(InputError, match="toy: query_prompt is for encoders only; Lexical ranks texts itself"):
        task.run(Lexical(), OPTIONS)


@pytest.mark.parametrize("ignore", [False, True])
def test_faiss_equals_the_exact_search(ignore):
    pytest.importorskip("faiss", reason="faiss is not installed (pip install 'bothways[mine]')")
    data = collection(3)
    queries = {**data.queries, **{doc: data.corpus[doc] for doc in ("d007", "d123")}}
    data = Collection(queries, data.corpus, {**data.qrels, "d007": {"d007": 1, "d008": 1}, "d123": {"d123": 1, "d005": 1}})
    scores = [
        Retrieval(data, name="toy", k=(1, 10, 100), backend=backend, ignore_identical_ids=ignore).run(Written(), OPTIONS)
        for backend in ("exact", "faiss")
    ]
    # the same order of documents: no two of these random cosines are equal
    assert scores[0].metrics == scores[1].metrics
    assert scores[0].details == scores[1].details


def test_faiss_orders_equal_scores_as_the_library_does():
    pytest.importorskip("faiss", reason="faiss is not installed (pip install 'bothways[mine]')")
    corpus = {name: "1 0 |" for name in "hbdfaceg"} | {"z": "0 1 |"}
    rankers = [DenseRanker(Written(), backend=backend) for backend in ("exact", "faiss")]
    found = [ranker.rank({"q": "1 0 |"}, corpus, depth=9) for ranker in rankers]
    for ranking in found:
        assert "".join(ranking.doc_ids[i] for i in ranking.index[0]) == "hgfedcbaz"


def test_documents_as_bits_are_an_option_of_the_task(tmp_path):
    data = collection(4)
    write(tmp_path / "corpus.jsonl", [{"_id": name, "title": "", "text": text} for name, text in data.corpus.items()])
    write(tmp_path / "queries.jsonl", [{"_id": name, "text": text} for name, text in data.queries.items()])
    (tmp_path / "qrels").mkdir()
    lines = [f"{query}\t{document}\t{grade}" for query, judged in data.qrels.items() for document, grade in judged.items()]
    (tmp_path / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]), encoding="utf-8")
    tasks = {
        options: make_task(f"retrieval:{tmp_path}?name=r{options}")
        for options in (
            "",
            "&precision=binary",
            "&precision=binary&rescore=50",
            "&precision=binary&rescore=60&rescore_with=float32",
        )
    }
    found = {options: task.run(Written(), OPTIONS).metrics["ndcg@10"] for options, task in tasks.items()}
    # eight signs tell little, and all documents scored again by float32 are the exact search
    assert found["&precision=binary"] != found[""]
    assert found["&precision=binary&rescore=60&rescore_with=float32"] == found[""]
    assert len({json.dumps(task.settings) for task in tasks.values()}) == 4
    assert "quantization" not in tasks[""].settings  # results of earlier versions are resumed
    with pytest.raises(InputError, match="leave out either backend or precision int8"):
        make_task(f"retrieval:{tmp_path}?precision=int8&backend=faiss")
    with pytest.raises(InputError, match="precision must be"):
        make_task(f"retrieval:{tmp_path}?precision=4bit")


@pytest.mark.parametrize("kind", ["dot", "euclidean", "manhattan"])
def test_ranking_follows_the_similarity_of_the_encoder_or_of_the_task(kind):
    data = collection()
    encoder = Written()
    encoder.similarity_fn_name = kind
    found = Retrieval(data, name="r").run(encoder, OPTIONS)
    chosen = Retrieval(data, name="r", similarity=kind).run(Written(), OPTIONS)
    assert found.metrics == chosen.metrics != Retrieval(data, name="r").run(Written(), OPTIONS).metrics
    assert found.details["similarity"] == chosen.details["similarity"] == kind
    scores = similarity_of(Written().encode(list(data.queries.values())), Written().encode(list(data.corpus.values())), kind)
    first = scores.argmax(1).tolist()
    hits = [data.qrels[query].get(list(data.corpus)[place], 0) > 0 for query, place in zip(data.queries, first)]
    cut = Retrieval(data, name="r", k=(1,), similarity=kind).run(Written(), OPTIONS)
    relevant = [query for query in data.queries if any(data.qrels[query].values())]
    assert cut.metrics["mrr@1"] == pytest.approx(sum(hits) / len(relevant), abs=1e-12)
    with pytest.raises(InputError, match="similarity is for encoders only; BM25 ranks texts itself"):
        Retrieval(data, name="r", similarity=kind).run(BM25(), OPTIONS)
