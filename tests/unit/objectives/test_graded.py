"""Graded pairs on a real packed encoder: brute force, what is refused, resumed runs, files."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import bothways as bw
from bothways.config import parse
from bothways.data.labeled.graded_pairs import GradedPair
from bothways.errors import InputError
from bothways.objectives.graded import GradedConfig, _ordered
from bothways.objectives.seeding import pass_seed
from bothways.training.recipe.recipe import Recipe
from unit.objectives.small_encoder import make_encoder
from unit.training.material import TEXTS, interrupted, metrics, recipe

ROWS = [
    GradedPair("A dog runs.", "The dog is running.", 4.6, "stsb"),
    GradedPair("A dog runs.", "A cat sleeps on the sofa all day long.", 0.4, "stsb"),
    GradedPair("Snow fell.", "It snowed.", 5.0, "stsb"),
    GradedPair("He came", "She left", 1.0, "sick"),
    GradedPair("He came", "He has come to us", 4.5, "sick"),
    GradedPair("Two men", "Two women", 2.0, "sick"),
]


def by_hand(objective, encoder, batch, weights: tuple[float, float], widths: tuple[int, ...]) -> torch.Tensor:
    outputs = []
    for index, part in enumerate(batch.passes):
        torch.manual_seed(pass_seed(5, index))
        outputs.append(encoder(part))
    vectors = torch.cat(outputs)[batch.order].double()
    total = torch.zeros((), dtype=torch.float64)
    for width in widths:
        first, second = (torch.nn.functional.normalize(half[:, :width], dim=-1) for half in vectors.split(len(ROWS)))
        half = width // 2
        product = torch.complex(first[:, :half], first[:, half:]) * torch.complex(second[:, :half], second[:, half:]).conj()
        angles = (product.real + product.imag).sum(1).abs()
        for weight, similarity in zip(weights, ((first * second).sum(1), angles)):
            inside = torch.ones((), dtype=torch.float64)
            for i, one in enumerate(ROWS):
                for j, other in enumerate(ROWS):
                    if one.group == other.group and one.score > other.score:
                        inside = inside + torch.exp(20 * (similarity[j] - similarity[i]))
            total = total + weight * inside.log()
    return total


@pytest.mark.parametrize("graph_tokens", [0, 10_000])
@pytest.mark.parametrize(("weights", "widths"), [((1.0, 0.0), (32,)), ((0.5, 2.0), (32, 16))])
def test_step_equals_brute_force_with_dropout_active(weights, widths, graph_tokens):
    encoder = make_encoder()[0].train()
    config = GradedConfig(
        cosine_weight=weights[0],
        angle_weight=weights[1],
        matryoshka=widths,
        attention_dropout=0.3,
        batch_tokens=32,
        graph_tokens=graph_tokens,
    )
    objective = config.build(encoder)
    batch = objective.collate(objective.prepare(ROWS, encoder), torch.Generator()).to("cpu")
    assert len(batch.passes) > 2
    plain = copy.deepcopy(encoder)
    expected = by_hand(objective, plain, batch, weights, widths)
    (expected * 0.25).backward()
    result = objective.step(encoder, batch, scale=0.25, backward=torch.Tensor.backward, seed=5)
    assert result.count == objective.count(batch) == 1
    # float32 against float64
    torch.testing.assert_close(result.loss_sum.double(), expected.detach(), rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(encoder.parameters(), plain.parameters()):
        error = (ours.grad - theirs.grad).norm() / theirs.grad.norm().clamp_min(1e-6)
        assert float(error) < 1e-4


@pytest.mark.parametrize("rows", [2, 5, 8])
def test_the_share_of_pairs_in_the_right_order_is_counted(rows):
    cosines = torch.tensor([0.9, 0.1, 0.5, 0.5, 0.3, 0.7, -0.2, 0.1])[:rows]
    labels, groups = torch.tensor([3, 1, 2, 2, 5, 1, 0, 4])[:rows], torch.tensor([0, 0, 0, 1, 1, 1, 0, 1])[:rows]
    pairs = [(i, j) for i in range(rows) for j in range(rows) if labels[i] > labels[j] and groups[i] == groups[j]]
    right = sum(bool(cosines[i] > cosines[j]) for i, j in pairs)
    assert float(_ordered(cosines, labels, groups)) == pytest.approx(right / len(pairs))
    assert float(_ordered(cosines, torch.zeros(rows), groups)) == 0


def test_a_batch_of_equal_scores_does_not_count():
    encoder = make_encoder()[0].train()
    objective = GradedConfig().build(encoder)
    rows = objective.prepare(ROWS, encoder)
    alike = [rows[0], rows[0]._replace(group=1, score=1.0)]  # scores of two sources are not compared
    assert objective.count(objective.collate(alike, torch.Generator())) == 0
    with pytest.raises(InputError, match="all 2 pairs have one score"):
        objective.prepare([ROWS[0], ROWS[3]], encoder)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"cosine_weight": 0}, "both weights are 0"), ({"scale": 0}, "scale"), ({"tau": 1}, "unknown key 'tau'")],
)
def test_values_that_mean_nothing_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        parse(GradedConfig, values, where="objective")


def graded(folder: Path, **changes) -> Recipe:
    stage = {
        "name": "graded",
        "objective": {"kind": "graded", "max_length": 24, "attention_dropout": 0.2},
        "data": {"source": "pairs.jsonl"},
        "batch": {"size": 4},
        "optim": {"lr": 1e-3, "steps": 8},
        "adapter": {"r": 4, "dropout": 0.2},
        "save_every": 2,
        "log_every": 2,
    }
    return recipe(folder, {**stage, **changes})


def test_a_run_from_files_and_resumed_equals_an_uninterrupted_one(tmp_path, monkeypatch):
    files = []
    for name, top in (("one.jsonl", 5.0), ("two.jsonl", 1.0)):
        pairs = [{"sentence1": TEXTS[n], "sentence2": TEXTS[n + 1 + n % 3], "score": top * (n % 6) / 5} for n in range(12)]
        files.append(tmp_path / name)
        files[-1].write_text("\n".join(map(json.dumps, pairs)))
    made = graded(tmp_path, data={"source": [str(file) for file in files]})
    bw.train(made, tmp_path / "whole")
    rows = [
        GradedPair(row["sentence1"], row["sentence2"], row["score"], file.name)
        for file in files
        for row in map(json.loads, file.read_text().splitlines())
    ]
    monkeypatch.setattr("unit.training.material.TEXTS", rows)
    interrupted(made, tmp_path / "out", monkeypatch)
    bw.train(made, tmp_path / "out", texts=rows, resume=True)
    assert metrics(tmp_path / "out") == metrics(tmp_path / "whole")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "out"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any("ordered" in line for line in metrics(tmp_path / "out"))


def test_a_recipe_refuses_what_graded_pairs_cannot_use(tmp_path):
    with pytest.raises(InputError, match="a single pair has no other pair"):
        graded(tmp_path, batch={"size": 1})
    with pytest.raises(InputError, match=r"data\.unit: has no meaning for the objective graded"):
        graded(tmp_path, data={"source": "a.jsonl", "unit": "line"})
    with pytest.raises(InputError, match=r"texts\[0\]: the objective learns from scored pairs"):
        bw.train(graded(tmp_path), tmp_path / "out", texts=["a text"])


def test_the_recipe_simcse_has_a_stage_of_graded_pairs():
    made = bw.recipes.simcse(texts="lines.txt", graded="stsb/train.jsonl", dev="stdlib", preset="laptop")
    assert [stage.objective.kind for stage in made.stages] == ["contrastive", "graded"]
    assert made.stages[1].data.source == ("stsb/train.jsonl",)
    assert made.stages[1].eval is not None
