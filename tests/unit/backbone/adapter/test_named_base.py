"""The base that an adapter names: its revision is followed, as peft's AutoPeftModel does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from peft import AutoPeftModelForFeatureExtraction, LoraConfig, get_peft_model
from transformers import AutoModel

import bothways as bw
from bothways.backbone.adapter.named_base import named_base
from bothways.errors import InputError, SourceError
from tiny import SENTENCES, tiny_llama

NAME, MAIN, OLDER = "owner/base", "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with two versions of a base: `main`, and `v1` with other weights."""
    held = tmp_path / "hub" / "models--owner--base"
    (held / "refs").mkdir(parents=True)
    for seed, (ref, commit) in enumerate((("main", MAIN), ("v1", OLDER))):
        tiny_llama(held / "snapshots" / commit, seed=seed)
        (held / "refs" / ref).write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return held


def adapter(base: Path, place: Path, **changes: object) -> Path:
    """An adapter as sentence-transformers saves it, over one of the versions."""
    model = get_peft_model(AutoModel.from_pretrained(base), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    model.save_pretrained(str(place))
    file = place / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": NAME, **changes}))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, place)
    (place / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}])
    )
    return place


@pytest.mark.parametrize(("revision", "commit"), [(None, MAIN), ("main", MAIN), ("v1", OLDER), (OLDER, OLDER)])
def test_the_base_is_of_the_revision(cache: Path, tmp_path: Path, revision: str | None, commit: str) -> None:
    snapshot = cache / "snapshots" / commit
    place = adapter(snapshot, tmp_path / "adapter", revision=revision)
    found = named_base(place)
    assert found is not None and str(found) == NAME
    assert Path(found.path) == (snapshot if revision else Path(NAME))
    theirs = AutoPeftModelForFeatureExtraction.from_pretrained(str(place))
    encoder = bw.load(place, dtype="float32", device="cpu")
    (row,) = encoder.tokenize([SENTENCES[0]])
    with torch.no_grad():
        right = theirs(input_ids=torch.tensor([row.ids])).last_hidden_state[0, -1].numpy()
    assert abs(encoder.encode(SENTENCES[0]) - right).max() < 1e-5
    assert encoder.provenance["base"] == NAME


def test_a_revision_that_is_not_there_or_is_no_text(cache: Path, tmp_path: Path) -> None:
    place = adapter(cache / "snapshots" / MAIN, tmp_path / "adapter", revision="v2")
    with pytest.raises(SourceError, match="owner/base at revision v2"):
        bw.load(place, dtype="float32", device="cpu")
    with pytest.raises(InputError, match=r"adapter_config\.json: revision must be a string \(got 2\)"):
        named_base(adapter(cache / "snapshots" / MAIN, tmp_path / "other", revision=2))
    assert named_base(adapter(cache / "snapshots" / MAIN, tmp_path / "none", base_model_name_or_path=None)) is None
