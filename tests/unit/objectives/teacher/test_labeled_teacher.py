"""Teachers of labeled rows: cosines as scores, and a guide against the loss by hand."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch

from bothways.data.labeled.example import Example
from bothways.errors import InputError
from bothways.losses.contrastive import Rows, contrastive_loss
from bothways.objectives.supervised import SupervisedConfig
from unit.objectives.small_encoder import make_encoder

WORDS = ("cat", "dog", "snow", "sun", "rain")
ROWS = [
    Example("a cat", ("the cat sat",), ("a dog and a cat", "sun")),
    Example("a dog", ("dog, dog",), ("cat",)),
    Example("snow", ("snow and rain",), ("sun", "rain")),
    Example("the cat", ("cat and dog",), ("snow",)),
]


def bag(texts):
    """Counts of five words, with a constant so that no vector is zero."""
    return np.array([[text.count(word) for word in WORDS] + [0.5] for text in texts], dtype=np.float32)


def cosine(one: str, other: str) -> float:
    a, b = bag([one, other]).astype(np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.fixture
def teacher(monkeypatch, tmp_path) -> dict:
    module = types.ModuleType("words_teacher")
    module.encode = bag
    monkeypatch.setitem(sys.modules, "words_teacher", module)
    return {"encoder": "words_teacher:encode", "cache": str(tmp_path / "cache")}


def test_a_teachers_cosines_become_scores_at_the_students_temperature(teacher):
    encoder = make_encoder()[0].train()
    objective = SupervisedConfig(scale=20.0, distillation={"teacher": teacher}).build(encoder)
    rows = objective.prepare(ROWS, encoder)
    for row in rows:
        assert row.positive_scores == pytest.approx([cosine(row.query, text) for text in row.positives], abs=1e-6)
        assert row.negative_scores == pytest.approx([cosine(row.query, text) for text in row.negatives], abs=1e-6)
    assert objective.options.distillation.temperature == 1 / 20


def test_a_teacher_scores_by_the_similarity_that_it_states(teacher, monkeypatch):
    """Its own `similarity`, or that of the object whose method it is. Scores are logits then."""
    import words_teacher

    encoder = make_encoder()[0].train()

    def scores(**changes) -> tuple[list[float], float | None]:
        config = SupervisedConfig(scale=20.0, distillation={"teacher": {**teacher, **changes}})
        objective = config.build(encoder)
        row = objective.prepare(ROWS, encoder)[0]
        return [*row.positive_scores, *row.negative_scores], objective.options.distillation.temperature

    vectors = {text: bag([text])[0] for text in ("a cat", "the cat sat", "a dog and a cat", "sun")}
    products = [float(vectors["a cat"] @ vectors[text]) for text in list(vectors)[1:]]
    assert scores(similarity="dot") == (pytest.approx(products), 1.0)

    class Model:
        similarity_fn_name = "dot"

        def encode(self, texts):
            return bag(texts)

    monkeypatch.setattr(words_teacher, "encode", Model().encode)
    assert scores() == (pytest.approx(products), 1.0)
    assert scores(similarity="cosine")[1] == 1 / 20
    with pytest.raises(
        InputError, match=r"minus Euclidean distance, which has no usual temperature; set distillation\.temperature"
    ):
        scores(similarity="euclidean")


def test_a_guide_compares_as_it_states(teacher):
    """By dot products, a long text is nearer than the positive, and by cosines it is not."""
    rows = [Example("cat", ("cat",), ("cat cat dog dog",)), Example("snow", ("snow",), ("sun",))]
    encoder = make_encoder()[0].train()
    masked = {}
    for kind in ("cosine", "dot"):
        tests = {"same_text": False, "same_label": False, "guide": {**teacher, "similarity": kind}}
        objective = SupervisedConfig(negatives=1, false_negatives=tests, in_batch=False).build(encoder)
        batch = objective.collate(objective.prepare(rows, encoder), torch.Generator().manual_seed(0))
        result = objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0)
        masked[kind] = float(result.metrics["masked"]) * len(rows)
    assert masked == {"cosine": 0, "dot": 1}


@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_a_guide_leaves_out_the_columns_that_it_finds_too_near(teacher, margin):
    encoder = make_encoder()[0].train()
    tests = {"same_text": False, "same_label": False, "guide": teacher, "guide_margin": margin}
    objective = SupervisedConfig(scale=20.0, negatives=2, false_negatives=tests, graph_tokens=10_000).build(encoder)
    rows = objective.prepare(ROWS, encoder)
    batch = objective.collate(rows, torch.Generator().manual_seed(0))
    result = objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0)

    with torch.no_grad():
        vectors = torch.cat([encoder(part) for part in batch.passes])[batch.order].double()
    columns = [row.positives[0] for row in ROWS] + [text for row in rows for text in row.negatives]
    # two negatives are drawn of at most two, in their order
    assert len(vectors) == len(ROWS) + len(columns)
    units = torch.nn.functional.normalize(vectors, dim=-1)
    total, masked = 0.0, 0
    for i, row in enumerate(rows):
        logits = 20 * units[i] @ units[len(ROWS) :].T
        keep = [
            j == i or cosine(row.query, text) <= cosine(row.query, row.positives[0]) - margin + 1e-7
            for j, text in enumerate(columns)
        ]
        masked += len(keep) - sum(keep)
        total += float(logits[torch.tensor(keep)].logsumexp(0) - logits[i])
    assert masked > 0
    assert float(result.loss_sum) == pytest.approx(total, rel=1e-5)
    assert float(result.metrics["masked"]) == pytest.approx(masked / len(ROWS))


def test_the_guides_vectors_follow_the_order_of_the_batch(teacher):
    encoder = make_encoder()[0].train()
    objective = SupervisedConfig(negatives=1, false_negatives={"guide": teacher}).build(encoder)
    batch = objective.collate(objective.prepare(ROWS, encoder), torch.Generator().manual_seed(3)).to("cpu")
    assert torch.equal(batch.guide[: len(ROWS)], torch.from_numpy(bag([row.query for row in ROWS])))
    assert torch.equal(batch.guide[len(ROWS) : 2 * len(ROWS)], torch.from_numpy(bag([row.positives[0] for row in ROWS])))
    held = Rows(*batch.guide.split([len(ROWS), len(ROWS), len(batch.owner)]), batch.owner)
    assert torch.isfinite(contrastive_loss(held, objective.options, texts=batch.texts, guide=held).total)
