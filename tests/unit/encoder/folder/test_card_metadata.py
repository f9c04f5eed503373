"""Front matter of a card: what the hub reads, and options that it would refuse."""

from pathlib import Path

import pytest
from huggingface_hub import EvalResult, ModelCard

import bothways as bw
from bothways.encoder.folder.card import model_card
from bothways.encoder.folder.card_metadata import CardOptions, facts
from bothways.errors import InputError
from tiny import tiny_llama

STAGE = {
    "name": "mntp",
    "objective": {"kind": "mntp", "mask": 0.2},
    "adapter": {"r": 16},
    "data": [
        {"source": "/home/someone/secret|plans/texts.jsonl", "kind": "file", "texts": 5, "sha256": "ab" * 32},
        {"source": "org/corpus", "kind": "hub", "texts": 7, "sha256": "cd" * 32},
        {"held_out": 3},
    ],
    "seed": 42,
    "steps": 10,
    "tokens": 1000,
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_llama(tmp_path / "base")


@pytest.fixture
def encoder(base: Path) -> bw.Encoder:
    return bw.convert(base, dtype="float32", device="cpu", prompts={"query": "Find:\n"})


def test_the_metadata_is_what_the_hub_reads(encoder: bw.Encoder, tmp_path: Path) -> None:
    encoder.provenance |= {
        "stages": [STAGE],
        "base_model": {"id": "org/base", "revision": "f" * 40, "license": "mit", "language": ["en"]},
    }
    result = EvalResult(
        "semantic-similarity", "stsb", "STS-B dev", "spearman", 0.75, metric_name="Spearman", dataset_args={"sha256": "12" * 32}
    )
    text = model_card(encoder, [], CardOptions(name="me/mine", figures=(result,)))
    card = ModelCard(text)
    assert card.data.to_dict() == {
        "language": ["en"],
        "license": "mit",
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": ["sentence-transformers", "feature-extraction", "sentence-similarity", "bothways", "mntp"],
        "base_model": "org/base",
        "base_model_relation": "finetune",
        "datasets": ["org/corpus"],
        "model-index": [
            {
                "name": "mine",
                "results": [
                    {
                        "task": {"type": "semantic-similarity"},
                        "dataset": {"name": "STS-B dev", "type": "stsb", "args": {"sha256": "12" * 32}},
                        "metrics": [{"type": "spearman", "value": 0.75, "name": "Spearman"}],
                    }
                ],
            }
        ],
    }
    assert card.data.eval_results == [result]
    for words in (
        "# me/mine",
        "f" * 40,
        "LLM2Vec, arXiv 2404.05961",
        "LoRA, rank 16",
        "texts.jsonl",
        "abababab",
        "| 0.7500 |",
        'bw.load("me/mine")',
    ):
        assert words in text
    assert "someone" not in text and "this folder" not in text


def test_options_that_the_hub_would_refuse() -> None:
    for options in ({"license": "my own"}, {"base_model": "/tmp/model"}, {"name": "mine"}, {"language": ("English",)}):
        with pytest.raises(InputError, match=next(iter(options))):
            CardOptions(**options)


def test_a_base_that_is_given_takes_the_place_of_the_recorded_one(encoder: bw.Encoder) -> None:
    """What was recorded of the other model, its license above all, does not hold for this one. Its
    files do.
    """
    files = {"model.safetensors": "12" * 32}
    recorded = {"id": "org/base", "revision": "f" * 40, "license": "mit", "language": ["en"], "files": files}
    encoder.provenance |= {"base_model": recorded}
    same = facts(encoder, CardOptions(base_model="org/base"))
    assert (same["id"], same["license"], same["language"]) == ("org/base", "mit", ["en"])
    other = facts(encoder, CardOptions(base_model="org/other"))
    assert other == {"id": "org/other", "files": files}
    chosen = facts(encoder, CardOptions(license="Apache-2.0", language=("ko",)))
    assert (chosen["id"], chosen["license"], chosen["language"]) == ("org/base", "apache-2.0", ["ko"])
