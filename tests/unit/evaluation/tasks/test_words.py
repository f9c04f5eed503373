"""The word-level task end to end on small random models."""

from __future__ import annotations

import numpy as np
import pytest

from bothways.errors import InputError
from bothways.evaluation.evaluate import evaluate
from bothways.evaluation.probing.linear_probe import ProbeSettings
from bothways.evaluation.registry import make_task
from bothways.evaluation.tasks.words import Words
from unit.evaluation.word_material import LEXICON, encoder, write_conll

PROBE = ProbeSettings(lr=0.05, steps=100, dev_every=50)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BOTHWAYS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    return write_conll(tmp_path / "conll")


def test_a_causal_model_knows_its_word_and_not_the_next(tmp_path, folder):
    """Words here are independent draws: the state before a word says nothing about it, unless the
    model looks ahead.
    """
    causal = encoder(tmp_path, direction="causal")
    same = evaluate(causal, Words(folder, probe=PROBE)).records[f"words:{folder}"]
    following = evaluate(causal, Words(folder, probe=PROBE, alignment="next_token")).records[f"words:{folder}"]
    assert same.details["alignment"] == "same_token"
    assert (same.details["alignment_from"], following.details["alignment_from"]) == ("provenance", "option")
    assert same.metrics["accuracy[pos]"] > 0.9
    # whether a chunk begins or goes on also depends on the word before, which random weights hardly
    # remember
    assert same.metrics["accuracy[chunk]"] > 0.7
    assert same.metrics["accuracy[ner]"] > 0.9
    assert same.metrics["f1[ner]"] > 0.6
    # all that shows one place earlier is whether a word is split from its blank
    assert following.metrics["accuracy[pos]"] < 0.5
    assert following.metrics["f1[ner]"] < 0.3
    assert same.metrics["accuracy"] == pytest.approx(np.mean([same.metrics[f"accuracy[{c}]"] for c in ("pos", "chunk", "ner")]))
    assert set(same.metrics) == {
        "accuracy",
        *(f"accuracy[{column}]" for column in ("pos", "chunk", "ner")),
        *(f"{measure}[{column}]" for measure in ("precision", "recall", "f1") for column in ("chunk", "ner")),
    }


def test_an_mntp_model_is_read_one_place_earlier(tmp_path, folder):
    model = encoder(tmp_path)
    model.provenance["stages"] = [{"name": "mntp", "objective": {"kind": "mntp"}}]
    details = evaluate(model, Words(folder, probe=PROBE)).records[f"words:{folder}"].details
    assert details["alignment"] == "next_token"
    assert details["alignment_from"] == "provenance"
    assert details["tags"] == "IOB2"
    assert details["sentences"] == {"train": 60, "dev": 60, "test": 60}
    assert details["columns"]["pos"]["classes"] == len({tags[0] for tags in LEXICON.values()})
    assert details["columns"]["ner"]["classes"] == 5  # O, and B- and I- of two types: the I-LOC I-LOC of the file are one span
    assert set(details["columns"]["ner"]["by_type"]) == {"LOC", "PER"}


def test_same_seed_same_scores_from_disk_and_memory(tmp_path, folder):
    model = encoder(tmp_path, add_bos=False)
    runs = [
        evaluate(model, Words(folder, probe=PROBE, cache=cache), seed=seed)[f"words:{folder}"]
        for cache, seed in (("disk", 0), ("disk", 0), ("memory", 0), ("memory", 1))
    ]
    assert runs[0] == runs[1] == runs[2] != runs[3]


def test_specification_limit_and_fingerprint(tmp_path, folder):
    spec = f"words:{folder}?limit=5&steps=20&lr=0.01&alignment=next_token&cache=memory"
    task = make_task(spec)
    assert (task.name, task.limit, task.alignment, task.cache) == (spec, 5, "next_token", "memory")
    assert (task.probe.steps, task.probe.lr, task.probe.batch_size) == (20, 0.01, 8)
    assert [len(task.sentences[split]) for split in ("train", "dev", "test")] == [5, 5, 5]
    assert task.fingerprint != Words(folder).fingerprint
    zipped = Words(write_conll(tmp_path / "zipped", zipped=True))
    assert zipped.fingerprint == Words(folder).fingerprint
    assert evaluate(encoder(tmp_path), task).records[spec].details["words"]["train"] > 5


def test_what_cannot_be_evaluated(tmp_path, folder):
    class Plain:
        def encode(self, texts):
            return np.ones((len(texts), 2))

    with pytest.raises(InputError, match="task 'words' needs the states of single tokens, which Plain does not give"):
        evaluate(Plain(), Words(folder))
    with pytest.raises(InputError, match="alignment"):
        Words(folder, alignment="previous")
    with pytest.raises(InputError, match="limit: must be at least 1"):
        Words(folder, limit=0)
    with pytest.raises(InputError, match=r"needs a path; write words:FOLDER"):
        make_task("words")
    (folder / "dev.txt").unlink()
    with pytest.raises(InputError, match=r"dev\.txt: no such file, gzipped or not"):
        Words(folder)
