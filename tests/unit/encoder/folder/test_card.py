"""The model card: its metadata by huggingface_hub's own classes, the base by what the hub knows,
and an edited card that stays.
"""

import hashlib
import json
import logging
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

import bothways as bw
from bothways.backbone.base_facts import base_facts
from bothways.encoder.folder.card import CARD, GENERATED, is_ours, keep_edited, model_card, sealed
from bothways.encoder.folder.head_modules import with_mlp
from bothways.objectives.contrastive_base import mlp_layer
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


def front(folder: Path) -> dict:
    return yaml.safe_load((folder / CARD).read_text().split("---\n")[1])


def test_a_local_base_is_not_named(encoder: bw.Encoder, base: Path, tmp_path: Path) -> None:
    encoder.save(tmp_path / "out")
    text = (tmp_path / "out" / CARD).read_text()
    assert "base_model" not in front(tmp_path / "out") and str(tmp_path) not in text
    digest = hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
    assert f"| sha256 of model.safetensors | {digest} |" in text and "a local model, not on the hub" in text
    assert "license" not in front(tmp_path / "out") and "license of the base model is not known" in text


def test_facts_of_the_base_outlive_the_base(encoder: bw.Encoder, base: Path, tmp_path: Path) -> None:
    (base / CARD).write_text("---\nlicense: other\nlicense_name: own\nlicense_link: LICENSE\nlanguage: [no, ko]\n---\n# Base\n")
    encoder.save(tmp_path / "one")
    (base / CARD).unlink()
    bw.load(tmp_path / "one", dtype="float32", device="cpu").save(tmp_path / "two")
    for folder in ("one", "two"):
        stated = front(tmp_path / folder)
        assert (stated["license"], stated["license_name"], stated["language"]) == ("other", "own", ["no", "ko"])
        assert "license_link" not in stated, "a link into the base's repository leads nowhere here"


@pytest.mark.parametrize(
    "card", ["no front matter", "---\nlicense: [\n---\n", "---\nlicense: 3\nlanguage: {a: b}\n---\n", "---\n- a\n---\n"]
)
def test_a_card_of_the_base_that_says_nothing(base: Path, card: str) -> None:
    (base / CARD).write_text(card)
    assert set(base_facts({"base": str(base), "source": "folder"})) == {"files"}


def test_the_base_is_followed_to_the_hub(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = tmp_path / "models--org--name" / "snapshots" / ("a" * 40)
    cached.mkdir(parents=True)
    (cached / "config.json").write_text("{}")
    (cached / CARD).write_text("---\nlicense: [apache-2.0]\n---\n")
    found = base_facts({"base": str(cached), "source": "folder"})
    assert found == {"id": "org/name", "revision": "a" * 40, "license": "apache-2.0"}
    run = tmp_path / "run"
    run.mkdir()
    (run / "bothways.json").write_text(json.dumps({"kind": "language model", "base": str(cached), "source": "folder"}))
    assert base_facts({"base": str(run), "source": "folder"}) == found, "through a language model that was trained here"
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "_name_or_path": "org/other"}))
    assert base_facts({"base": str(base), "source": "folder"})["id"] == "org/other"
    monkeypatch.chdir(tmp_path)
    assert base_facts({"base": "gone/base", "source": "folder"}) == {}, "a relative path is not a hub id"
    assert base_facts({"base": "gone/base", "source": "hub"}) == {"id": "gone/base"}
    assert base_facts({"base": "smollm2-135m", "source": "embedded"})["license"] == "apache-2.0"


def test_an_edited_card_is_kept(encoder: bw.Encoder, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "out"
    encoder.save(out)
    written = (out / CARD).read_text()
    assert is_ours(written) and is_ours(written.replace("\n", "\r\n"))
    encoder.options.max_length = 77
    encoder.save(out, replace=True)
    assert "77 tokens" in (out / CARD).read_text() and not caplog.records and not (out / GENERATED).exists()
    edited = (out / CARD).read_text().replace("77 tokens", "77 tokens (mine)")
    (out / CARD).write_text(edited)
    encoder.options.max_length = 55
    with caplog.at_level(logging.WARNING, "bothways"):
        encoder.save(out, replace=True)
    assert (out / CARD).read_text() == edited and "55 tokens" in (out / GENERATED).read_text()
    assert len(caplog.messages) == 1 and GENERATED in caplog.messages[0]


def test_cards_of_others_are_not_ours_and_a_missing_one_is_no_obstacle(tmp_path: Path) -> None:
    body = sealed("# A model\n\nText.\n")
    assert is_ours(body) and not is_ours("# A model\n") and not is_ours("") and not is_ours(body + "More.\n")
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        folder.mkdir()
    (after / CARD).write_text(body)
    keep_edited(before, after)  # nothing there
    (before / CARD).write_bytes(b"mine \xff")
    (after / CARD).write_bytes(b"mine \xff")
    keep_edited(before, after)  # the same
    assert not (after / GENERATED).exists()
    (after / CARD).write_text(body)
    keep_edited(before, after)
    assert (after / CARD).read_bytes() == b"mine \xff" and (after / GENERATED).read_text() == body


def test_the_readme_of_an_export_becomes_a_card(encoder: bw.Encoder, tmp_path: Path) -> None:
    encoder.provenance |= {"stages": [STAGE], "base_model": {"id": "org/base", "license": "mit"}}
    for target in ("gguf", "onnx"):
        pytest.importorskip(target)
        if target == "onnx":
            pytest.importorskip("onnxscript")
        bw.export(encoder, tmp_path / target, to=target)
        card = ModelCard.load(tmp_path / target / CARD)
        stated = card.data.to_dict()
        assert (stated["base_model"], stated["license"], stated["tags"][0]) == ("org/base", "mit", target)
        assert "library_name" not in stated and "texts.jsonl" in card.text and "| name | org/base |" in card.text
        assert "bothways verify-export" in card.text, "what the writer says stays"


def test_the_limits_name_every_module_behind_the_pooling(base: Path, tmp_path: Path) -> None:
    """SimCSE's kept MLP is a Dense, so whoever pools AutoModel's states must apply it too."""
    encoder = bw.convert(base, dtype="float32", device="cpu", normalize=True)
    encoder.pooling = with_mlp(encoder.pooling, mlp_layer(encoder.dimension), width=encoder.dimension)
    encoder.save(tmp_path / "saved")
    said = (tmp_path / "saved" / CARD).read_text()
    behind = [module["path"] for module in json.loads((tmp_path / "saved" / "modules.json").read_text())[2:]]
    assert behind == ["2_Dense", "3_Normalize"]
    assert "Pool them as `1_Pooling/config.json` says, then apply `2_Dense` and `3_Normalize`." in said
    encoder.options.normalize = False
    assert "says, then apply `2_Dense`." in model_card(encoder, [])
    encoder.pooling.keep = 8
    assert "says, then apply `2_Dense`, and keep the first 8 numbers." in model_card(encoder, [])


def test_the_limits_count_on_behind_pooled_layers(base: Path, tmp_path: Path) -> None:
    bw.convert(base, dtype="float32", device="cpu", pooling="first_last_avg", normalize=True).save(tmp_path / "saved")
    listed = [module["path"] for module in json.loads((tmp_path / "saved" / "modules.json").read_text())]
    said = (tmp_path / "saved" / CARD).read_text()
    assert f"then apply `{listed[-1]}`." in said and listed[-1] == "3_Normalize"
