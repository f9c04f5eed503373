"""Distillation on a real packed encoder: brute force, the layer that is kept, resumed runs."""

from __future__ import annotations

import copy
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import bothways as bw
from bothways.config import parse
from bothways.errors import InputError
from bothways.losses.vector_distillation import score_divergence, similarity_distance
from bothways.objectives.distilled import DistilledConfig
from bothways.objectives.seeding import pass_seed
from bothways.training.recipe.recipe import Recipe
from unit.objectives.small_encoder import TEXTS as SOME
from unit.objectives.small_encoder import make_encoder
from unit.training.material import TEXTS, interrupted, metrics, recipe, weights

WIDTH = 6


def letters(texts):
    """Shares of six letters: vectors that a byte-level student can learn."""
    return np.array([[1 + text.lower().count(letter) for letter in "aeions"] for text in texts], dtype=np.float32)


@pytest.fixture
def teacher(monkeypatch, tmp_path) -> dict:
    module = types.ModuleType("letters_teacher")
    module.encode = letters
    monkeypatch.setitem(sys.modules, "letters_teacher", module)
    return {"encoder": "letters_teacher:encode", "cache": str(tmp_path / "cache")}


def built(teacher: dict, **options):
    encoder = make_encoder()[0].train()
    torch.manual_seed(0)
    objective = DistilledConfig(teacher=teacher, attention_dropout=0.3, batch_tokens=48, **options).build(encoder)
    objective.hand_over(encoder)
    batch = objective.collate(objective.prepare(SOME, encoder), torch.Generator()).to("cpu")
    return encoder, objective, batch


@pytest.mark.parametrize("graph_tokens", [0, 10_000])
@pytest.mark.parametrize("keep", [True, False])
def test_step_equals_brute_force_with_dropout_active(teacher, keep, graph_tokens):
    encoder, objective, batch = built(
        teacher, cosine=0.5, mse=2.0, similarities=3.0, scores=0.7, keep_projection=keep, graph_tokens=graph_tokens
    )
    assert len(batch.passes) > 2
    plain, other = copy.deepcopy((encoder, objective))
    outputs = []
    for index, part in enumerate(batch.passes):
        torch.manual_seed(pass_seed(5, index))
        outputs.append(plain(part))
    vectors = torch.cat(outputs)[batch.order].double()
    known = torch.from_numpy(letters(SOME)).double()
    layer = plain.pooling.layers[-1].linear if keep else other.projection.linear
    assert vectors.shape[1] == (WIDTH if keep else 32)
    projected = vectors if keep else vectors @ layer.weight.double().T + layer.bias.double()
    parts = {
        "cosine": (1 - F.cosine_similarity(projected, known)).sum(),
        "mse": (projected - known).square().mean(1).sum(),
        "similarities": similarity_distance(vectors, known),
        "scores": score_divergence(vectors, known),
    }
    expected = 0.5 * parts["cosine"] + 2.0 * parts["mse"] + 3.0 * parts["similarities"] + 0.7 * parts["scores"]
    (expected * 0.25).backward()
    result = objective.step(encoder, batch, scale=0.25, backward=torch.Tensor.backward, seed=5)
    assert result.count == objective.count(batch) == len(SOME)
    # float32 against float64
    torch.testing.assert_close(result.loss_sum.double(), expected.detach(), rtol=1e-4, atol=1e-4)
    pairs = [*zip(encoder.parameters(), plain.parameters()), *zip(objective.parameters(), other.parameters())]
    for ours, theirs in pairs:
        error = (ours.grad - theirs.grad).norm() / theirs.grad.norm().clamp_min(1e-6)
        assert float(error) < 1e-4
    means = {name: float(part.detach()) / len(SOME) for name, part in parts.items()}
    assert {name: float(value) for name, value in result.metrics.items()} == pytest.approx(means, rel=1e-4)


def test_without_a_projection_only_similarities_can_be_learned(teacher):
    encoder, objective, batch = built(teacher, cosine=0.0)
    assert not list(objective.parameters())
    assert encoder.dimension == 32
    assert set(objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0).metrics) == {"scores"}
    with pytest.raises(InputError, match="6 numbers and the encoder's 32, so cosine and mse need a projection"):
        built(teacher, projection=False)


def test_scores_are_by_the_similarities_that_both_state(teacher, caplog):
    encoder = make_encoder()[0].eval()
    encoder.options.similarity = "dot"

    def loss(**options):
        config = parse(DistilledConfig, {"teacher": {**teacher, "similarity": "dot"}, "cosine": 0, **options}, where="x")
        objective = config.build(encoder)
        batch = objective.collate(objective.prepare(SOME, encoder), torch.Generator())
        return objective, float(objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0).loss_sum)

    with torch.no_grad():
        own = encoder(encoder.pack(encoder.tokenize(SOME))).double()
    known = torch.from_numpy(letters(SOME)).double()
    both = ("dot", "dot")
    for temperature, given in ((1.0, {}), (4.0, {"teacher_temperature": 4.0})):  # of long vectors: logits
        expected = score_divergence(own, known, teacher_temperature=temperature, similarities=both)
        assert loss(**given)[1] == pytest.approx(float(expected), rel=1e-3)
    assert loss(scores=0, similarities=1)[1] == pytest.approx(
        float(similarity_distance(own, known, similarity="dot")), rel=1e-3
    )
    assert loss(scores=0, mse=1)[0].similarities == both and "similarity_fn_name" not in caplog.text
    encoder.options.similarity = "cosine"
    with pytest.raises(InputError, match="compares by dot product and the encoder by cosine; learn scores instead"):
        loss(similarities=1)
    loss(scores=0, mse=1)
    assert 'write "similarity_fn_name": "dot" into' in caplog.text
    with pytest.raises(InputError, match=r"minus Manhattan distance, which has no usual temperature; set teacher_temperature"):
        loss(teacher={**teacher, "similarity": "manhattan"})


def taught(folder: Path, teacher: dict, **objective) -> Recipe:
    stage = {
        "name": "distillation",
        "objective": {"kind": "distillation", "teacher": teacher, "max_length": 24, "attention_dropout": 0.1, **objective},
        "data": {"source": "lines.txt"},
        "batch": {"size": 8},
        "optim": {"lr": 3e-3, "steps": 8},
        "adapter": {"r": 4, "dropout": 0.1},
        "save_every": 3,
        "log_every": 2,
    }
    return recipe(folder, stage)


def test_resuming_equals_the_uninterrupted_run_and_the_layer_is_saved(tmp_path, teacher):
    made = taught(tmp_path, teacher)
    encoder = bw.train(made, tmp_path / "whole", texts=TEXTS)
    with pytest.MonkeyPatch.context() as other:
        interrupted(made, tmp_path / "out", other)
    bw.train(made, tmp_path / "out", texts=TEXTS, resume=True)
    assert metrics(tmp_path / "out") == metrics(tmp_path / "whole")
    one, other = (weights(tmp_path / name) for name in ("whole", "out"))
    assert all(torch.equal(one[name], other[name]) for name in one)

    from sentence_transformers import SentenceTransformer

    assert encoder.encode(TEXTS[:3]).shape == (3, WIDTH)
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu", model_kwargs={"dtype": torch.float32})
    np.testing.assert_allclose(
        bw.load(tmp_path / "out", dtype="float32").encode(TEXTS[:5]), theirs.encode(TEXTS[:5]), atol=1e-5
    )


def test_the_student_comes_nearer_to_its_teacher(tmp_path, teacher):
    made = taught(tmp_path, teacher, scores=0.0)
    bw.train(made, tmp_path / "out", texts=TEXTS)
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["cosine"] for line in lines if "cosine" in line]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cosine": 0, "scores": 0}, "all four weights are 0"),
        ({"matryoshka": [16]}, "the teacher's vectors have one width"),
        ({"temperature": 0}, "temperature"),
        ({"teacher": {"cache": "a"}}, r"teacher\.encoder"),
    ],
)
def test_values_that_mean_nothing_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        parse(DistilledConfig, {"teacher": {"encoder": "a"}, **values}, where="objective")


def test_a_recipe_of_simcse_learns_from_a_teacher_in_place_of_dropout():
    made = bw.recipes.simcse(texts="lines.txt", teacher="runs/large", preset="laptop", dev="stdlib")
    (stage,) = made.stages
    assert (stage.name, stage.objective.kind, stage.objective.teacher.encoder) == ("distillation", "distillation", "runs/large")
    plain = bw.recipes.simcse(texts="lines.txt", preset="laptop", dev="stdlib").stages[0]
    assert (stage.batch, stage.optim, stage.eval) == (plain.batch, plain.optim, plain.eval)
    with pytest.raises(InputError, match="learns from plain texts, and supervised from labels"):
        bw.recipes.simcse(texts="rows.jsonl", teacher="runs/large", supervised=True)


def test_a_prompt_for_documents_is_refused_because_there_are_none(teacher):
    with pytest.raises(InputError, match=r"teacher\.document_prompt: .*query_prompt"):
        parse(DistilledConfig, {"teacher": {**teacher, "document_prompt": "passage: "}}, where="x")
