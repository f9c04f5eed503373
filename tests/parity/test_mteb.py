"""Our scores against mteb's, on the same local data: `mteb-local:KIND:PATH` beside `KIND:PATH`."""

from __future__ import annotations

import functools
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from bothways.errors import InputError
from bothways.evaluation.evaluate import evaluate
from bothways.evaluation.registry import make_task

mteb = pytest.importorskip("mteb")

from bothways.evaluation.mteb.adapter import MtebEncoder  # noqa: E402
from bothways.evaluation.mteb.local import LocalTask  # noqa: E402

WORDS = [f"w{i}" for i in range(300)]
SEED = 42  # mteb's


class HashedWords:
    """Sums one random vector for each word: deterministic, quick, and texts that share words are
    close.
    """

    def __init__(self, dimension: int = 64) -> None:
        self.dimension = dimension
        self.known: dict[str, np.ndarray] = {}
        self._vector = functools.cache(self._sum)  # each text twice: once for us, once for mteb

    def encode(self, texts, prompt=None):
        return np.stack([self._vector((prompt or "") + text) for text in texts])

    def _sum(self, text):
        total = np.full(self.dimension, 1e-3)
        for word in text.lower().split():
            if word not in self.known:
                self.known[word] = np.random.default_rng(zlib.crc32(word.encode())).normal(size=self.dimension)
            total = total + self.known[word]
        return total.astype(np.float32)


def texts(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(3, 12))) for _ in range(count)]


def write(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def both(spec: str, metric: str) -> tuple[float, float]:
    """Our figure and mteb's."""
    results = evaluate(HashedWords(), [spec, f"mteb-local:{spec}"], seed=SEED)
    assert results.records[spec].data == results.records[f"mteb-local:{spec}"].data
    return results[spec][metric], results[f"mteb-local:{spec}"]["main_score"]


def test_sts(tmp_path):
    first = texts(200, 0)
    second = [f"{a} {b}" for a, b in zip(first[::-1], texts(200, 1))]
    first, second = first + texts(20, 2), second + texts(20, 2)  # 20 pairs of a text with itself: cosines that tie
    gold = np.random.default_rng(3).integers(0, 26, 220) / 5
    rows = [{"sentence1": a, "sentence2": b, "score": float(score)} for a, b, score in zip(first, second, gold)]
    ours, theirs = both(f"sts:{write(tmp_path / 'test.jsonl', rows)}", "spearman")
    # both correlate the same float64 cosines
    assert theirs == pytest.approx(ours, abs=1e-12) and 0 < abs(ours) < 1


def collection(folder: Path, *, shared_ids: bool = False) -> Path:
    documents, queries = texts(400, 4), texts(40, 5)
    if shared_ids:
        queries = documents[:40]
    documents[7] = documents[9]  # a document that is there twice: the order of ties matters
    names = [f"{'x' if shared_ids else 'd'}{i}" for i in range(400)]
    write(folder / "corpus.jsonl", [{"_id": n, "title": t.split()[0], "text": t} for n, t in zip(names, documents)])
    write(folder / "queries.jsonl", [{"_id": f"{'x' if shared_ids else 'q'}{i}", "text": t} for i, t in enumerate(queries)])
    rng = np.random.default_rng(6)
    lines = ["query-id\tcorpus-id\tscore"]
    for i in range(40):
        for document in rng.choice(400, rng.integers(1, 9), replace=False):
            lines.append(f"{'x' if shared_ids else 'q'}{i}\t{names[document]}\t{rng.integers(0, 3)}")
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_retrieval(tmp_path):
    spec = f"retrieval:{collection(tmp_path / 'c')}"
    results = evaluate(HashedWords(), [spec, f"mteb-local:{spec}"])
    scores = results.records[f"mteb-local:{spec}"].details["scores"]["test/default"]
    # float64 means of measures over one order of documents; pytrec_eval sums them in another order
    assert results[f"mteb-local:{spec}"]["main_score"] == pytest.approx(results[spec]["ndcg@10"], abs=1e-9)
    for name, value in results[spec].items():
        measure, cut = name.split("@")
        if measure != "mrr":  # mteb rounds its own MRR to five decimals
            assert scores[f"{measure}_at_{cut}"] == pytest.approx(value, abs=1e-9), name
    assert scores["mrr_at_10"] == pytest.approx(results[spec]["mrr@10"], abs=6e-6)
    assert 0 < results[spec]["ndcg@10"] < 1


def test_another_split_than_test(tmp_path):
    folder = collection(tmp_path / "c")
    few = (folder / "qrels" / "test.tsv").read_text().splitlines()[:60]
    (folder / "qrels" / "dev.tsv").write_text("\n".join(few) + "\n")
    ours, theirs = f"retrieval:{folder}?split=dev", f"mteb-local:retrieval:{folder}?split=dev"
    results = evaluate(HashedWords(), [ours, theirs])
    assert results[theirs]["main_score"] == pytest.approx(results[ours]["ndcg@10"], abs=1e-9)
    assert results.records[theirs].data == results.records[ours].data


def test_retrieval_without_a_querys_own_document(tmp_path):
    folder = collection(tmp_path / "c", shared_ids=True)
    from bothways.evaluation.tasks.retrieval import Retrieval

    task = Retrieval.from_folder(folder, ignore_identical_ids=True)
    ours = evaluate(HashedWords(), task)[task.name]["ndcg@10"]
    assert evaluate(HashedWords(), LocalTask(task, name="m"))["m"]["main_score"] == pytest.approx(ours, abs=1e-9)
    typed = f"mteb-local:retrieval:{folder}?ignore_identical_ids=true"
    record = evaluate(HashedWords(), typed).records[typed]
    assert record.metrics["main_score"] == pytest.approx(ours, abs=1e-9)
    assert record.options["ignore_identical_ids"] is True
    with pytest.raises(InputError, match="ignore_identical_ids is for retrieval"):
        make_task(f"mteb-local:sts:{folder}?ignore_identical_ids=true")
    kept = Retrieval.from_folder(folder)
    assert evaluate(HashedWords(), kept)[kept.name]["ndcg@10"] != pytest.approx(ours, abs=1e-4)


def labelled(count: int, classes: int, seed: int, hints: int = 2) -> list[dict]:
    rng = np.random.default_rng(seed)
    rows = []
    for text in texts(count, seed):
        label = int(rng.integers(classes))
        rows.append({"text": f"{text}{hints * f' {WORDS[label]}'}", "label": f"class {label}"})
    return rows


@pytest.mark.parametrize("classes", [2, 5])
def test_classification(tmp_path, classes):
    write(tmp_path / "train.jsonl", labelled(200, classes, 7))
    write(tmp_path / "test.jsonl", labelled(150, classes, 8))
    ours, theirs = both(f"classification:{tmp_path}", "accuracy")
    # the same draws, vectors and solver: the same predictions
    assert theirs == pytest.approx(ours, abs=1e-9) and 1 / classes < ours < 1


def test_clustering(tmp_path):
    ours, theirs = both(f"clustering:{write(tmp_path / 'test.jsonl', labelled(300, 4, 9))}", "v_measure")
    assert theirs == pytest.approx(ours, abs=1e-9) and 0 < ours < 1


def test_clustering_of_several_sets(tmp_path):
    sets = []
    for seed in (10, 11):
        rows = labelled(120, 3, seed, hints=1)
        sets.append({"sentences": [row["text"] for row in rows], "labels": [row["label"] for row in rows]})
    ours, theirs = both(f"clustering:{write(tmp_path / 'test.jsonl', sets)}", "v_measure")
    assert theirs == pytest.approx(ours, abs=1e-9) and 0 < ours < 1


def test_reranking(tmp_path):
    rng = np.random.default_rng(12)
    rows = []
    for query in texts(50, 13):
        wrong, right = texts(int(rng.integers(2, 12)), int(rng.integers(1 << 30))), query.split()[::2]
        # a right candidate that is also among the wrong ones: equal scores, wrong one first
        rows.append({"query": query, "positive": [" ".join([*right, "w1", "w2", "w3"]), wrong[0]], "negative": wrong})
    ours, theirs = both(f"reranking:{write(tmp_path / 'test.jsonl', rows)}", "map")
    assert theirs == pytest.approx(ours, abs=1e-9) and 0 < ours < 1


def test_pairs(tmp_path):
    rng = np.random.default_rng(14)
    rows = []
    for text, other in zip(texts(200, 15), texts(200, 16)):
        label = int(rng.integers(2))
        rows.append(
            {"sentence1": text, "sentence2": f"{other} {text}" if label and rng.random() < 0.6 else other, "label": label}
        )
    ours, theirs = both(f"pairs:{write(tmp_path / 'test.jsonl', rows)}", "cosine_ap")
    assert theirs == pytest.approx(ours, abs=1e-12) and 0.5 < ours < 1


def test_mteb_runs_local_tasks_by_itself(tmp_path):
    """With mteb's own entry point, for whoever has a local task and an mteb model."""
    rows = [{"sentence1": a, "sentence2": b, "score": i % 5} for i, (a, b) in enumerate(zip(texts(30, 17), texts(30, 18)))]
    task = make_task(f"mteb-local:sts:{write(tmp_path / 'test.jsonl', rows)}")
    found = mteb.evaluate(MtebEncoder(HashedWords()), task.task, cache=None, show_progress_bar=False)
    assert found.task_results[0].scores["test"][0]["main_score"] == evaluate(HashedWords(), task)[task.name]["main_score"]


@pytest.mark.parametrize("prompts", [{}, {"query": "w7 w8 ", "STS": "w9 ", "Retrieval-document": "w10 "}])
def test_the_adapter_equals_mtebs_own_wrapper_of_a_sentence_transformer(tmp_path, prompts):
    encoder = sentence_transformer(prompts)
    rows = [{"sentence1": a, "sentence2": b, "score": i % 5} for i, (a, b) in enumerate(zip(texts(60, 19), texts(60, 20)))]
    tasks = [f"sts:{write(tmp_path / 'test.jsonl', rows)}", f"retrieval:{collection(tmp_path / 'c')}"]
    ours = evaluate(encoder, [f"mteb-local:{spec}" for spec in tasks])
    for spec in tasks:
        task = make_task(f"mteb-local:{spec}").task
        [theirs] = mteb.evaluate(encoder, task, cache=None, show_progress_bar=False).task_results
        # their pairwise cosines are float32: neighbours among 60 may swap
        found = theirs.scores["test"][0]["main_score"]
        assert ours[f"mteb-local:{spec}"]["main_score"] == pytest.approx(found, abs=1e-4), spec
        if prompts:
            plain = evaluate(sentence_transformer({}), f"mteb-local:{spec}").main[f"mteb-local:{spec}"]
            assert plain != pytest.approx(found, abs=1e-3), "the stored prompts matter here"


def sentence_transformer(prompts: dict[str, str]):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, **{word: i for i, word in enumerate(WORDS, 1)}}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = torch.randn(len(WORDS) + 1, 48, generator=torch.Generator().manual_seed(0))
    modules = [StaticEmbedding(tokenizer, embedding_weights=weights)]
    return SentenceTransformer(modules=modules, device="cpu", prompts=prompts or None)


def test_an_instruction_reaches_queries_of_retrieval_alone(tmp_path):
    spec = f"retrieval:{collection(tmp_path / 'c')}"
    seen: list[str] = []

    class Prompted(HashedWords):
        def encode(self, texts, prompt=None):
            seen.append(f"{prompt!r} {len(texts)}")
            return super().encode(texts, prompt)

    evaluate(Prompted(), f"mteb-local:{spec}?prompts=llm2vec&instruction=Find the twin")
    assert sorted(set(seen)) == ["'' 399", "'Find the twin: ' 40"], "one document is there twice"


def test_what_mteb_has_no_task_for_is_refused(tmp_path):
    write(tmp_path / "train.jsonl", labelled(40, 2, 7))
    write(tmp_path / "test.jsonl", labelled(40, 2, 8))
    with pytest.raises(InputError, match="write mteb-local:KIND:PATH with KIND one of sts, retrieval"):
        make_task("mteb-local:geometry:x")
    with pytest.raises(InputError, match="write mteb-local:KIND:PATH"):
        make_task("mteb-local:sts")
    with pytest.raises(InputError, match="instruction needs prompts"):
        make_task(f"mteb-local:classification:{tmp_path}?instruction=Find it")
    with pytest.raises(InputError, match="mteb only has a logistic regression on a few texts per class"):
        LocalTask(make_task(f"classification:{tmp_path}?shots=all"))
    pairs = write(tmp_path / "pairs.jsonl", [{"sentence1": "a", "sentence2": "b", "score": score} for score in (1, 5)])
    with pytest.raises(InputError, match="no mteb task for 'geometry'"):
        LocalTask(make_task(f"geometry:{pairs}"))


@pytest.mark.shared
def test_scifact(shared):
    ours, theirs = both(f"retrieval:{shared / 'scifact'}", "ndcg@10")
    assert theirs == pytest.approx(ours, abs=1e-6) and ours > 0.05


@pytest.mark.shared
@pytest.mark.parametrize(
    ("spec", "metric"),
    [("sts:stsb/test.jsonl", "spearman"), ("reranking:wikiqa/test.jsonl.gz", "map"), ("pairs:mrpc/test.jsonl.gz", "cosine_ap")],
)
def test_real_files(shared, spec, metric):
    kind, _, path = spec.partition(":")
    ours, theirs = both(f"{kind}:{shared / path}", metric)
    assert theirs == pytest.approx(ours, abs=1e-6) and 0.1 < ours < 1
