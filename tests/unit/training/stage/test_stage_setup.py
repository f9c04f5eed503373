"""How a stage is prepared: parts that only training has, gradient checkpointing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import bothways as bw
from bothways.encoder.encoder import Encoder
from bothways.training.loop.precision import NumberTypes
from bothways.training.stage.base_encoder import open_base
from bothways.training.stage.stage_context import StageContext
from bothways.training.stage.stage_setup import ready
from unit.training.material import TEXTS, mntp, recipe, simcse, state, weights
from unit.training.stage.test_labeled import supervised


def test_train_only_parts_are_trained_and_left_behind(tmp_path: Path) -> None:
    objective = {"kind": "mntp", "row_length": 32, "train_head": True}
    head = bw.train(recipe(tmp_path, mntp(objective=objective)), tmp_path / "head", texts=TEXTS)
    plain = bw.train(recipe(tmp_path, mntp()), tmp_path / "plain", texts=TEXTS)
    counts = [encoder.provenance["stages"][0]["trainable"] for encoder in (head, plain)]
    size = weights(tmp_path / "base")["model.embed_tokens.weight"].numel()
    assert counts[0] - counts[1] == size  # LLM2Vec's accident: the whole head
    assert weights(tmp_path / "head").keys() == weights(tmp_path / "plain").keys()


def test_gradient_checkpointing_changes_nothing(tmp_path: Path) -> None:
    losses = []
    for checkpointing in (False, True):
        out = tmp_path / str(checkpointing)
        made = recipe(tmp_path, mntp(gradient_checkpointing=checkpointing), simcse(gradient_checkpointing=checkpointing))
        bw.train(made, out, texts=TEXTS)
        losses.append(state(out, "1-mntp", 8)["losses"] + state(out, "2-simcse", 6)["losses"])
    # the recomputation repeats the same operations on the same numbers
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


LATENT = {"mode": "latent_attention", "latents": 4, "heads": 2, "head_width": 4}


@pytest.mark.parametrize(
    ("stage", "backbone", "pooling"),
    [
        (mntp(), "factors", False),
        (mntp(adapter=None), "all", False),
        (simcse(), "factors", True),
        (supervised(adapter=None), "all", True),
    ],
    ids=["mntp", "mntp, every weight", "simcse", "supervised, every weight"],
)
def test_trained_are_the_factors_or_every_weight_and_a_pooling_that_the_loss_reads(
    tmp_path: Path, stage: dict, backbone: str, pooling: bool
) -> None:
    context = StageContext(recipe(tmp_path, stage, pooling=LATENT), 0, None)
    encoder = open_base(context, device=torch.device("cpu"), dtype=torch.float32)
    with ready(context, encoder, NumberTypes(torch.float32, torch.float32)):
        names = dict(encoder.backbone.named_parameters())
        trained = {name for name, parameter in names.items() if parameter.requires_grad}
        assert trained == {name for name in names if ".lora_" in name or backbone == "all"} and trained
        assert [parameter.requires_grad for parameter in encoder.pooling.parameters()] == [pooling] * len(
            list(encoder.pooling.parameters())
        )


def with_mlp(folder: Path, seed: int = 3) -> tuple[Encoder, StageContext]:
    objective = {"kind": "contrastive", "max_length": 16, "attention_dropout": 0.3, "mlp": True, "keep_mlp": True}
    context = StageContext(recipe(folder, simcse(objective=objective), seed=seed), 0, None)
    return open_base(context, device=torch.device("cpu"), dtype=torch.float32), context


def test_a_layer_that_the_encoder_keeps_trains_inside_it(tmp_path: Path) -> None:
    """SimCSE's MLP with `keep_mlp`: the optimizer takes the encoder's parameters."""
    encoder, context = with_mlp(tmp_path)
    before = sum(parameter.numel() for parameter in encoder.pooling.parameters())
    with ready(context, encoder, NumberTypes(torch.float32, torch.float32)) as objective:
        width = encoder.hidden_size
        kept = list(encoder.pooling.parameters())
        assert sum(parameter.numel() for parameter in kept) - before == width * width + width
        assert all(parameter.requires_grad for parameter in kept) and not list(objective.parameters())


def test_new_layers_are_drawn_from_the_recipes_seed_alone(tmp_path: Path) -> None:
    drawn = []
    for seed, state_before in ((3, 0), (3, 1), (4, 0)):
        encoder, context = with_mlp(tmp_path, seed)
        torch.manual_seed(state_before)
        with ready(context, encoder, NumberTypes(torch.float32, torch.float32)):
            drawn.append(torch.cat([parameter.detach().flatten() for parameter in encoder.pooling.parameters()]))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_after_a_stage_the_encoder_has_its_own_dropout_again(tmp_path: Path) -> None:
    context = StageContext(recipe(tmp_path, simcse(adapter=None)), 0, None)
    encoder = open_base(context, device=torch.device("cpu"), dtype=torch.float32).train()
    rows = encoder.pack(encoder.tokenize(TEXTS[:3]))
    with torch.no_grad():
        before = encoder(rows)
        with ready(context, encoder, NumberTypes(torch.float32, torch.float32)):
            assert not torch.equal(encoder(rows), before)
        assert torch.equal(encoder(rows), before)
