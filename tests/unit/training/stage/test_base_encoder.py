"""The start of the first stage: a base with an adapter, or a finished encoder."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.errors import InputError
from bothways.pooling import Pooling
from bothways.training.recipe.overrides import override
from bothways.training.stage.base_encoder import _check_fits
from unit.training.material import TEXTS, mntp, recipe, simcse
from unit.training.on_hub import on_hub


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """An uninterrupted run of both stages; its base lies beside it."""
    folder = tmp_path_factory.mktemp("whole")
    bw.train(recipe(folder), folder / "out", texts=TEXTS)
    return folder / "out"


def test_a_saved_adapter_under_the_first_stage(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    made = recipe(tmp_path, simcse())
    torch.manual_seed(0)
    model = get_peft_model(
        AutoModel.from_pretrained(tmp_path / "base"), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    )
    model.save_pretrained(tmp_path / "adapter")
    encoder = bw.train(override(made, f"base_adapter={tmp_path / 'adapter'}"), tmp_path / "out", texts=TEXTS)
    assert encoder.provenance["base_adapter"] == str(tmp_path / "adapter")
    plain = bw.train(made, tmp_path / "plain", texts=TEXTS)
    assert np.abs(encoder.encode(TEXTS[:3]) - plain.encode(TEXTS[:3])).max() > 1e-2


def test_training_goes_on_from_an_encoder_folder(whole: Path, tmp_path: Path) -> None:
    encoder = bw.train(recipe(whole.parent, simcse(), base=str(whole)), tmp_path / "out", texts=TEXTS)
    assert [stage["name"] for stage in encoder.provenance["stages"]] == ["mntp", "simcse", "simcse"]
    # its provenance names the base LLM, whose head MNTP needs
    bw.train(recipe(whole.parent, mntp(), base=str(whole)), tmp_path / "mntp", texts=TEXTS)


def test_a_hub_id_of_an_encoder_is_read_like_its_folder(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Converted as a base LLM, it would lose its stages, prompts and pooling."""
    on_hub(monkeypatch, "owner/encoder", whole)
    made = recipe(whole.parent, simcse())
    found = bw.train(override(made, "base=owner/encoder"), tmp_path / "hub", texts=TEXTS)
    wanted = bw.train(override(made, f"base={whole}"), tmp_path / "folder", texts=TEXTS)
    assert [stage["name"] for stage in found.provenance["stages"]] == ["mntp", "simcse", "simcse"]
    assert np.array_equal(found.encode(TEXTS), wanted.encode(TEXTS))
    with pytest.raises(InputError, match=r"owner/encoder: is a finished encoder; use bothways\.load"):
        bw.convert("owner/encoder")


def test_one_stage_that_trains_the_new_tokens_is_enough() -> None:
    """A finished encoder without them is refused only if no stage would train them."""
    encoder = SimpleNamespace(
        direction="bidirectional",
        pooling=Pooling("mean"),
        hidden_size=8,
        tokenizer=SimpleNamespace(get_vocab=lambda: {"a": 0}),
    )

    def asked(*trains: bool) -> Any:
        stages = [SimpleNamespace(objective=SimpleNamespace(trains_new_tokens=each)) for each in trains]
        return SimpleNamespace(
            base="b", name="r", direction="bidirectional", pooling="mean", new_tokens=("<s1>",), stages=stages
        )

    for trains in ((True, False), (False, True), (True,)):
        _check_fits(encoder, asked(*trains))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="new_tokens: b has no <s1>, and no stage of the recipe r trains it"):
        _check_fits(encoder, asked(False, False))  # type: ignore[arg-type]
