"""What a stage keeps: its adapter, the merged encoder, or both, and that each of them is the same
encoder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModel

import bothways as bw
from bothways.errors import InputError
from bothways.training.recipe.recipe import Recipe
from bothways.training.recipe.recipe_files import read_recipe
from tiny import SENTENCES
from unit.training.material import TEXTS, mntp, recipe, simcse

PAIRS = [["Find it:", "a cat"], ["", "the river runs to the sea"], ["Find it:", "a letter"]]
NEAR = 2e-5  # float32 sums in another order


def run(folder: Path, keep: str | tuple[str, ...], **values: Any) -> Recipe:
    keeps = (keep, keep) if isinstance(keep, str) else keep
    stages = [stage(keep=each) for stage, each in zip((mntp, simcse), keeps)]
    options = {"wrapper": ("[INST] ", " [/INST]"), "joint": " ", "pool_bos": False, "prompts": {"query": "Find: "}}
    return recipe(folder, *stages, **{**options, **values})


def vectors(place: Path, **options: Any) -> np.ndarray:
    return bw.load(place, dtype="float32", device="cpu", **options).encode(PAIRS)


def weight_files(folder: Path) -> list[str]:
    found = [file for file in folder.rglob("*.safetensors") if "checkpoints" not in file.parts]
    return sorted(str(file.relative_to(folder)) for file in found)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("both")
    bw.train(run(folder, "both"), folder / "out", texts=TEXTS)
    return folder / "out"


def test_both_is_the_default(both: Path, tmp_path: Path) -> None:
    assert recipe(tmp_path, mntp()).stages[0].keep == "both"
    assert weight_files(both) == [
        "adapters/1-mntp/adapter_model.safetensors",
        "adapters/2-simcse/adapter_model.safetensors",
        "model.safetensors",
        "stages/1-mntp/model.safetensors",
    ]


def test_plain_peft_gives_the_merged_weights(both: Path) -> None:
    """As LLM2Vec loads its adapters: over the bare decoder, one after the other, each merged."""
    model: Any = AutoModel.from_pretrained(both.parent / "base")
    for name, place in (("1-mntp", both / "stages" / "1-mntp"), ("2-simcse", both)):
        model = PeftModel.from_pretrained(model, str(both / "adapters" / name))
        assert all(bool(p.any()) for key, p in model.named_parameters() if "lora_B" in key)  # every factor has found its layer
        model = model.merge_and_unload()
        merged = AutoModel.from_pretrained(place).state_dict()
        for key, value in model.state_dict().items():
            torch.testing.assert_close(value, merged[key], atol=1e-6, rtol=1e-6)
    config = json.loads((both / "adapters" / "1-mntp" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["task_type"]) == (str(both.parent / "base"), None)
    settings = json.loads((both / "adapters" / "2-simcse" / "llm2vec_config.json").read_text())
    assert settings == {"pooling_mode": "mean", "max_length": 512, "doc_max_length": 400, "skip_instruction": True}


def test_an_adapter_is_the_encoder_that_was_merged(both: Path) -> None:
    for kept, merged in (("1-mntp", both / "stages" / "1-mntp"), ("2-simcse", both)):
        place = both / "adapters" / kept
        assert np.abs(vectors(place) - vectors(merged)).max() < NEAR
        one, other = (bw.load(each, dtype="float32", device="cpu") for each in (place, merged))
        assert (one.options, one.direction, one.pooling.mode) == (other.options, other.direction, other.pooling.mode)
        assert [stage["name"] for stage in one.provenance["stages"]] == [stage["name"] for stage in other.provenance["stages"]]
    # the run's name means its last stage
    made = bw.convert(both.parent / "base", adapter=both, dtype="float32", device="cpu")
    again = bw.load(both, dtype="float32", device="cpu").backbone.state_dict()
    for key, value in made.backbone.state_dict().items():
        torch.testing.assert_close(value, again[key], atol=1e-6, rtol=1e-6)


def test_what_is_merged_already_is_not_merged_again(both: Path) -> None:
    expected = vectors(both)
    assert np.abs(vectors(both / "stages" / "1-mntp", adapter=both) - expected).max() < NEAR
    assert np.abs(vectors(both / "stages" / "1-mntp", adapter=both / "adapters" / "2-simcse") - expected).max() < NEAR
    assert np.abs(vectors(both, adapter=both / "adapters" / "1-mntp") - vectors(both)).max() < NEAR
    first = bw.load(both / "adapters" / "1-mntp", adapter=both / "adapters" / "2-simcse", dtype="float32", device="cpu")
    assert np.abs(first.encode(PAIRS) - expected).max() < NEAR


def test_the_adapter_alone(both: Path, tmp_path: Path) -> None:
    chosen = run(both.parent, "adapter")
    out = tmp_path / "out"
    encoder = bw.train(chosen, out, texts=TEXTS)
    assert weight_files(out) == [
        "adapter_model.safetensors",
        "adapters/1-mntp/adapter_model.safetensors",
        "adapters/2-simcse/adapter_model.safetensors",
    ]
    assert np.abs(encoder.encode(PAIRS) - vectors(both)).max() < NEAR
    assert np.abs(vectors(out) - vectors(both)).max() < NEAR
    assert bw.load(out).prompts == {"query": "Find: "}
    # finished: nothing is trained again, and the run can be moved as a whole
    before = (out / "metrics.jsonl").read_text()
    bw.train(chosen, out, resume=True, texts=TEXTS)
    assert (out / "metrics.jsonl").read_text() == before
    out.rename(tmp_path / "moved")
    assert np.abs(vectors(tmp_path / "moved") - vectors(both)).max() < NEAR
    # it is a base for what follows, in either way
    for name, start in (("on", {"base": str(tmp_path / "moved")}), ("peft", {"base_adapter": str(tmp_path / "moved")})):
        more = recipe(both.parent, simcse(name="more", keep="both"), **start)
        bw.train(more, tmp_path / name, texts=TEXTS)
        expected = vectors(tmp_path / name)
        assert np.abs(vectors(tmp_path / name / "adapters" / "1-more") - expected).max() < NEAR
        assert np.abs(vectors(tmp_path / "moved", adapter=tmp_path / name) - expected).max() < NEAR


def test_a_configuration_s_own_adapter_stays_with_its_base(both: Path, tmp_path: Path) -> None:
    """peft_model_name_or_path, when another base is given: its own base again, the encoder that
    holds it, or a stranger.
    """
    values = {
        "simcse_dropout": 0.3,
        "model_name_or_path": "org/base",
        "peft_model_name_or_path": str(both),
        "bidirectional": True,
    }
    values["dataset_file_path"] = "texts.txt"
    (tmp_path / "simcse.json").write_text(json.dumps(values))
    found = {
        name: read_recipe(tmp_path / "simcse.json", base=base).base_adapter
        for name, base in (
            ("file", None),
            ("own", str(both.parent / "base")),
            ("holds", str(both)),
            ("stranger", "smollm2-135m"),
        )
    }
    assert found == {"file": str(both), "own": str(both), "holds": None, "stranger": None}


def test_merged_alone_and_mixed(both: Path, tmp_path: Path) -> None:
    bw.train(run(both.parent, "merged"), tmp_path / "merged", texts=TEXTS)
    assert weight_files(tmp_path / "merged") == ["model.safetensors", "stages/1-mntp/model.safetensors"]
    assert np.abs(vectors(tmp_path / "merged") - vectors(both)).max() < NEAR
    with pytest.raises(InputError, match="no adapter_config"):
        bw.convert(both.parent / "base", adapter=tmp_path / "merged")
    bw.train(run(both.parent, ("merged", "adapter")), tmp_path / "mixed", texts=TEXTS)
    assert np.abs(vectors(tmp_path / "mixed") - vectors(both)).max() < NEAR
    bw.train(run(both.parent, ("adapter", "merged")), tmp_path / "other", texts=TEXTS)
    assert np.abs(vectors(tmp_path / "other") - vectors(both)).max() < NEAR
    assert weight_files(tmp_path / "other") == ["adapters/1-mntp/adapter_model.safetensors", "model.safetensors"]


def test_a_run_stopped_between_stages_goes_on_with_another_choice(both: Path, tmp_path: Path) -> None:
    from bothways.training.stage import product

    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(product, "publish_kept", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bw.train(run(both.parent, "adapter"), out, texts=TEXTS)
    assert not (out / "bothways.json").exists()
    (out / "adapter_config.json").write_text("{")  # a file of the adapter had come already
    bw.train(run(both.parent, "both"), out, resume=True, texts=TEXTS)
    assert (out / "model.safetensors").is_file()
    assert not (out / "adapter_config.json").exists()
    assert np.abs(vectors(out) - vectors(both)).max() < NEAR


def test_a_trained_pooling_is_kept_beside_the_adapter(both: Path, tmp_path: Path) -> None:
    pooling = {"mode": "latent_attention", "latents": 4, "heads": 2}
    chosen = recipe(both.parent, simcse(keep="adapter"), pooling=pooling)
    encoder = bw.train(chosen, tmp_path / "out", texts=TEXTS)
    assert encoder.pooling.mode == "latent_attention"
    bw.train(recipe(both.parent, simcse(keep="merged"), pooling=pooling), tmp_path / "merged", texts=TEXTS)
    assert np.abs(vectors(tmp_path / "out") - vectors(tmp_path / "merged")).max() < NEAR
    assert not (tmp_path / "out" / "llm2vec_config.json").exists()  # LLM2Vec has no such pooling


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (mntp(keep="adapter", adapter=None), "keep: there is no adapter if every weight trains"),
        (mntp(keep="lora"), "keep: Input should be 'adapter', 'merged' or 'both'"),
    ],
)
def test_what_cannot_be_kept_is_refused(tmp_path: Path, stage: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe(tmp_path, stage)


def test_a_stage_that_trains_every_weight_breaks_the_chain(both: Path, tmp_path: Path) -> None:
    chosen = recipe(both.parent, mntp(adapter=None, name="whole"), simcse())
    bw.train(chosen, tmp_path / "out", texts=list(TEXTS) + list(SENTENCES))
    assert np.abs(vectors(tmp_path / "out" / "adapters" / "2-simcse") - vectors(tmp_path / "out")).max() < NEAR
    chosen = recipe(both.parent, mntp(), simcse(adapter=None, name="whole"))
    bw.train(chosen, tmp_path / "other", texts=TEXTS)
    with pytest.raises(InputError, match="no adapter_config"):  # the adapter of the first stage is not the run
        bw.convert(both.parent / "base", adapter=tmp_path / "other")


@pytest.mark.parametrize("variant", [{"use_dora": True}, {"use_rslora": True}], ids=["dora", "rslora"])
def test_variants_of_lora_are_kept_as_peft_reads_them(both: Path, tmp_path: Path, variant: dict[str, bool]) -> None:
    stage = simcse(keep="both", adapter={"r": 4, "dropout": 0.1, **variant}, save_every=None)
    bw.train(recipe(both.parent, stage), tmp_path / "out", texts=TEXTS)
    kept = tmp_path / "out" / "adapters" / "1-simcse"
    assert variant.items() <= json.loads((kept / "adapter_config.json").read_text()).items()
    merged = vectors(tmp_path / "out")
    assert np.abs(vectors(kept) - merged).max() < NEAR
    # and as peft itself merges them
    model = PeftModel.from_pretrained(AutoModel.from_pretrained(both.parent / "base"), kept).merge_and_unload()
    expected = AutoModel.from_pretrained(tmp_path / "out").state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-5)
    assert np.abs(merged - bw.convert(both.parent / "base", dtype="float32", device="cpu").encode(PAIRS)).max() > 1e-4


def test_an_adapter_that_starts_by_pissa_is_kept_whole(tmp_path: Path) -> None:
    """peft takes the same part out of the base again when it loads the adapter."""
    stage = simcse(adapter={"r": 4, "dropout": 0.0, "init_lora_weights": "pissa"})
    bw.train(recipe(tmp_path, stage), tmp_path / "out", texts=TEXTS)
    merged, kept = vectors(tmp_path / "out"), vectors(tmp_path / "out" / "adapters" / "1-simcse")
    assert np.abs(merged - kept).max() < 10 * NEAR  # a singular value decomposition in float32 lies between
    plain = bw.convert(tmp_path / "base", dtype="float32").encode(PAIRS)
    assert np.abs(merged - plain).max() > 1e-3
