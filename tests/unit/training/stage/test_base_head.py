"""The head of a stage's base: which stages get one, with which weights, and the one that was lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import bothways as bw
from bothways.errors import InputError
from bothways.training.stage import base_head
from bothways.training.stage.base_head import lost_head, open_head
from bothways.training.stage.stage_context import StageContext
from tiny import tiny_llama
from unit.training.material import mntp, recipe, simcse

FLOAT = torch.float32


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base_head") / "base")


@pytest.fixture
def encoder(base: Path) -> bw.Encoder:
    return bw.convert(base, dtype="float32", device="cpu")


def test_an_objective_without_a_head_reads_no_base(base: Path, encoder: bw.Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any, **options: Any) -> None:
        raise AssertionError("the base was read")

    monkeypatch.setattr(base_head, "load_pretrained", never)
    assert open_head(StageContext(recipe(base.parent, simcse()), 0), encoder, FLOAT) is None


def test_the_head_is_the_bases_and_gives_its_logits(base: Path, encoder: bw.Encoder) -> None:
    head = open_head(StageContext(recipe(base.parent, mntp()), 0), encoder, FLOAT)
    assert head is not None
    whole = AutoModelForCausalLM.from_pretrained(str(base), dtype=FLOAT)
    ids = torch.tensor([[3, 5, 7, 11]])
    with torch.no_grad():
        states = whole.model(ids).last_hidden_state[0]
        torch.testing.assert_close(head(states), whole(ids).logits[0], atol=1e-6, rtol=1e-6)


def test_a_tied_head_reads_the_embeddings_of_the_encoder(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base", tie_word_embeddings=True)
    encoder = bw.convert(base, dtype="float32", device="cpu")
    with torch.no_grad():
        encoder.backbone.get_input_embeddings().weight.mul_(2)  # as if a stage had trained them
    head = open_head(StageContext(recipe(tmp_path, mntp()), 0), encoder, FLOAT)
    assert head is not None and head.tied
    states = torch.randn(3, encoder.hidden_size, generator=torch.Generator().manual_seed(0))
    expected = states @ encoder.backbone.get_input_embeddings().weight.T
    torch.testing.assert_close(head(states), expected, atol=1e-5, rtol=1e-5)


def test_an_encoder_has_no_head_to_give(base: Path, encoder: bw.Encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "encoder")
    context = StageContext(recipe(base.parent, mntp(), base=str(tmp_path / "encoder")), 0)
    encoder.provenance["base"] = str(tmp_path / "encoder")
    with pytest.raises(
        InputError, match=r"stages\.mntp: mntp needs a language-model head, and .*encoder is an encoder without one"
    ):
        open_head(context, encoder, FLOAT)


@pytest.mark.parametrize(
    ("stages", "lost"),
    [
        ([], False),
        ([{"adapter": None, "objective": {"kind": "mntp"}}], True),
        ([{"adapter": None, "objective": {"kind": "llara"}}], True),
        ([{"adapter": {"r": 4}, "objective": {"kind": "mntp"}}], False),
        ([{"adapter": None, "objective": {"kind": "contrastive"}}], False),
        ([{"adapter": {"r": 4}, "objective": {"kind": "mntp"}}, {"adapter": None, "objective": {"kind": "mntp"}}], True),
    ],
)
def test_a_head_is_lost_if_a_stage_over_encoders_trained_every_weight(
    encoder: bw.Encoder, base: Path, stages: list[dict[str, Any]], lost: bool
) -> None:
    encoder.provenance["stages"] = stages
    assert lost_head(encoder, str(base)) == lost


def test_stages_of_the_base_itself_kept_their_head(encoder: bw.Encoder, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = [{"adapter": None, "objective": {"kind": "mntp"}}]
    monkeypatch.setattr(base_head, "history", lambda name: {"stages": trained})
    encoder.provenance["stages"] = trained
    assert not lost_head(encoder, str(base))
    encoder.provenance["stages"] = trained * 2
    assert lost_head(encoder, str(base))
