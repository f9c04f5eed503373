"""mteb's tasks by name: the suite, what is refused, what happens without a hub, and a whole run on
data put in the hub's place.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from bothways.errors import InputError, SourceError
from bothways.evaluation.evaluate import evaluate
from bothways.evaluation.registry import make_task

mteb = pytest.importorskip("mteb")

from bothways.evaluation.mteb import hub_tasks  # noqa: E402
from bothways.evaluation.mteb.hub_tasks import SUBSET15, HubTask, Suite, find_task  # noqa: E402

CATEGORIES = {
    "Retrieval": {"SciFact", "ArguAna", "NFCorpus"},
    "Reranking": {"StackOverflowDupQuestions", "SciDocsRR"},
    "Clustering": {"BiorxivClusteringS2S", "MedrxivClusteringS2S", "TwentyNewsgroupsClustering"},
    "PairClassification": {"SprintDuplicateQuestions"},
    "Classification": {"Banking77Classification", "EmotionClassification", "MassiveIntentClassification"},
    "STS": {"STS17", "SICK-R", "STSBenchmark"},
}
PAIRS = [("a cat sat", "a cat sat down", 4.6), ("a cat sat", "the stock fell", 0.2), ("the dog ran", "a dog ran off", 4.2),
         ("the dog ran", "prices rose", 0.5), ("a bird sang", "a bird was heard", 3.1)]  # fmt: skip


class Letters:
    name = "letters"

    def encode(self, texts, prompt=None):
        texts = [(prompt or "") + text for text in texts]
        return np.array([[text.count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for text in texts], dtype=np.float32)


@pytest.fixture
def stsb(monkeypatch):
    """STSBenchmark and SICK-R with five pairs in the place of the hub's data."""
    from datasets import Dataset

    def load_data(self, **_):
        columns = dict(zip(("sentence1", "sentence2", "score"), map(list, zip(*PAIRS))))
        self.dataset = {"test": Dataset.from_dict(columns)}
        self.data_loaded = True

    for name in ("STSBenchmark", "SICK-R"):
        monkeypatch.setattr(type(mteb.get_task(name)), "load_data", load_data)


def test_the_fifteen_are_those_of_the_paper_in_english():
    found = {name: find_task(name, subsets) for name, subsets in SUBSET15}
    by_type: dict[str, set[str]] = {}
    for name, task in found.items():
        by_type.setdefault(task.metadata.type, set()).add(name)
        assert list(task.eval_splits) == ["test"], name
        assert task.hf_subsets == {"STS17": ["en-en"], "MassiveIntentClassification": ["en"]}.get(name, ["default"])
    assert by_type == CATEGORIES


def test_unknown_names_are_refused():
    with pytest.raises(
        InputError, match=r"mteb:SciFat: mteb 2\S+ does not have this task: .*Did you mean: 'SciFact'.*subset15"
    ):
        make_task("mteb:SciFat")
    with pytest.raises(InputError, match=r"mteb:STS17 does not have the subset 'en'; choose from: .*en-en"):
        make_task("mteb:STS17?subsets=en")
    with pytest.raises(InputError, match="mteb:SciFact does not have the split 'dev'; choose from: test"):
        make_task("mteb:SciFact?splits=dev")
    with pytest.raises(InputError, match="has fixed subsets"):
        make_task("mteb:subset15?subsets=en")
    with pytest.raises(InputError, match="prompts must be one of llm2vec, nv_embed, e5"):
        make_task("mteb:SciFact?prompts=gte")
    with pytest.raises(InputError, match="encoders here take text alone"):
        make_task("mteb:CIFAR10")
    with pytest.raises(InputError, match="needs a"):
        make_task("mteb")


@pytest.mark.parametrize(("spec", "data"), [("mteb:SciFact", "mteb/scifact"), ("mteb:CQADupstackRetrieval", "CQADupstackAndroid"),
                                            ("mteb:subset15", "mteb/scifact")])  # fmt: skip
def test_without_a_hub_one_line_says_what_was_not_reached(spec, data, monkeypatch, tmp_path):
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    monkeypatch.setattr(hub_tasks, "_silence", lambda dataset: "ConnectError: no such host")
    before = (huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE)
    with pytest.raises(SourceError, match=r"the Hugging Face hub did not answer \(ConnectError: no such host\)") as caught:
        make_task(spec)
    assert data in str(caught.value) and "mteb-local:KIND:PATH" in str(caught.value)
    assert "\n" not in str(caught.value)
    after = (huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE)
    assert after == before


def test_a_hub_that_answers_is_not_called_unreachable(monkeypatch):
    def load_data(self, **_):
        raise ValueError("Unknown split 'test'.\nmore")

    monkeypatch.setattr(type(mteb.get_task("STSBenchmark")), "load_data", load_data)
    monkeypatch.setattr(hub_tasks, "_silence", lambda dataset: None)
    with pytest.raises(
        SourceError, match=r"cannot load its data set mteb/stsbenchmark-sts .*\(ValueError: Unknown split 'test'\.\)"
    ):
        make_task("mteb:STSBenchmark")


def test_offline_is_a_reason():
    assert "offline" in str(hub_tasks._silence("mteb/scifact"))


def test_a_task_runs_and_says_what_it_was(stsb, tmp_path):
    file = tmp_path / "test.jsonl"
    file.write_text("".join(json.dumps({"sentence1": a, "sentence2": b, "score": s}) + "\n" for a, b, s in PAIRS))
    results = evaluate(Letters(), ["mteb:STSBenchmark", "mteb:STSBenchmark?prompts=llm2vec", f"sts:{file}"])
    plain, prompted = results.records["mteb:STSBenchmark"], results.records["mteb:STSBenchmark?prompts=llm2vec"]
    assert plain.metrics == {"main_score": pytest.approx(results[f"sts:{file}"]["spearman"], abs=1e-12)}
    assert plain.main == "main_score" and plain.details["metric"] == "cosine_spearman"
    assert plain.details["mteb"] == mteb.__version__
    assert set(plain.details["scores"]) == {"test/default"}
    # the instruction's letters are in both texts of a pair: other cosines
    assert prompted.details["scores"]["test/default"]["pearson"] != plain.details["scores"]["test/default"]["pearson"]
    assert plain.data == prompted.data
    results.save(tmp_path / "results.json")


class Weighted(torch.nn.Module):
    """Counts letters, weighs them, and counts its calls."""

    def __init__(self, weight: float = 1.0, patience: float = float("inf")) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.linspace(1.0, weight, 26))
        self.calls = 0
        self.patience = patience

    def encode(self, texts, prompt=None):
        if self.calls == self.patience:
            raise KeyboardInterrupt
        self.calls += 1
        return Letters().encode(texts, prompt) * self.weights.detach().numpy()


def test_a_stopped_suite_continues_from_its_cache(stsb, tmp_path):
    def suite():
        return Suite([HubTask(name, cache=tmp_path / "cache") for name in ("STSBenchmark", "SICK-R")], name="two")

    with pytest.raises(KeyboardInterrupt):
        evaluate(Weighted(patience=2), suite())  # one call for each side of the pairs of the first task
    encoder = Weighted()
    resumed = evaluate(encoder, suite())["two"]
    assert encoder.calls == 2, "the first task was finished, by an encoder of the same weights"
    anew = evaluate(Weighted(), Suite([HubTask("STSBenchmark"), HubTask("SICK-R")], name="two"))["two"]
    assert resumed == pytest.approx(anew, abs=1e-6)  # mteb keeps six decimals
    evaluate(encoder, suite())
    assert encoder.calls == 2
    other = Weighted(3.0)
    assert evaluate(other, suite())["two"] != resumed
    assert other.calls == 4, "other weights are another encoder"
    prompted = Weighted()
    evaluate(prompted, HubTask("STSBenchmark", cache=tmp_path / "cache", prompts="e5"))
    assert prompted.calls == 2, "other prompts are another experiment"
    with pytest.raises(InputError, match="Letters does not have weights to recognize its results by"):
        evaluate(Letters(), suite())


def test_a_stopped_suite_continues_beside_its_results(stsb, tmp_path):
    """Without a cache of its own: what `--out` and `--resume` say holds for the parts of a suite as
    for any tasks.
    """

    def suite():
        return Suite([HubTask("STSBenchmark"), HubTask("SICK-R")], name="two")

    out = tmp_path / "results.json"
    for _ in range(2):  # what a run without `resume` left is not built upon by the next such run
        stopped = Weighted(patience=2)
        with pytest.raises(KeyboardInterrupt):
            evaluate(stopped, suite(), out=out)
        assert stopped.calls == 2
    assert not out.exists() and (tmp_path / "results.json.work").is_dir()
    encoder = Weighted()
    resumed = evaluate(encoder, suite(), out=out, resume=True)["two"]
    assert encoder.calls == 2, "the first task was finished"
    assert resumed == pytest.approx(evaluate(Weighted(), suite())["two"], abs=1e-6)  # mteb keeps six decimals
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert evaluate(Letters(), suite(), out=out)["two"]["average"] > 0, "an encoder without weights is measured all the same"


def test_a_suite_is_the_plain_mean_of_its_tasks(stsb):
    suite = Suite([HubTask("STSBenchmark"), HubTask("SICK-R", prompts="e5")], name="two")
    record = evaluate(Letters(), suite).records["two"]
    assert set(record.metrics) == {"average", "STSBenchmark", "SICK-R"}
    assert record.metrics["average"] == pytest.approx((record.metrics["STSBenchmark"] + record.metrics["SICK-R"]) / 2)
    assert suite.settings["mteb:SICK-R"]["prompts"] == "e5"


def test_a_ranker_is_refused(stsb):
    from bothways.search.bm25_ranker import BM25

    with pytest.raises(InputError, match="cannot run BM25 on MTEB"):
        evaluate(BM25(), "mteb:STSBenchmark")
