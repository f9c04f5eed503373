"""SimCSE on a real packed encoder: brute-force loss, cached gradients, views, order, and
refusals.
"""

from __future__ import annotations

import copy

import pytest
import torch

from bothways.backbone.adapter.lora import attach
from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.backbone.dropout import active_dropout
from bothways.config import parse
from bothways.errors import InputError
from bothways.losses.false_negatives import NONE, BatchTexts
from bothways.objectives.contrastive import Contrastive, ContrastiveConfig
from bothways.objectives.seeding import pass_seed
from unit.objectives.small_encoder import TEXTS, make_encoder


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ready(encoder, seed: int = 0, **options):
    """A built objective and one batch of all texts."""
    torch.manual_seed(0)  # the train-only layer's weights
    objective = ContrastiveConfig(**{"attention_dropout": 0.3, "batch_tokens": 64, "graph_tokens": 0, **options}).build(encoder)
    return objective, objective.collate(objective.prepare(TEXTS, encoder), generator(seed))


def by_hand(objective: Contrastive, encoder, batch, seed: int, scale: float, cosines: float):
    """One graph over all passes, restored order, the formula in float64."""
    outputs = []
    for index, part in enumerate(batch.passes):
        torch.manual_seed(pass_seed(seed, index))
        outputs.append(objective.projection(encoder(part)))
    vectors = torch.nn.functional.normalize(torch.cat(outputs)[batch.order].double(), dim=-1)
    query, positive = vectors.chunk(2)
    logits = cosines * query @ positive.T
    loss = -(logits.log_softmax(-1)).diagonal().sum()
    (loss * scale).backward()
    return (
        loss.detach(),
        (query * positive).sum(-1).mean().detach(),
        (logits.argmax(-1) == torch.arange(len(query))).float().mean(),
    )


@pytest.mark.parametrize("graph_tokens", [0, 100, 10_000])
@pytest.mark.parametrize("lora", [False, True])
def test_step_equals_brute_force_with_dropout_active(graph_tokens, lora):
    encoder = make_encoder()[0].train()
    if lora:
        attach(encoder.backbone, LoraConfig(r=4, dropout=0.05))
        for name, parameter in encoder.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1, generator=generator())
    chosen = {"scale": 7.0} if lora else {}
    objective, batch = ready(encoder, mlp=True, hidden_dropout=0.1, graph_tokens=graph_tokens, **chosen)
    assert len(batch.passes) >= 4
    torch.manual_seed(0)
    first = encoder(batch.passes[0])
    torch.manual_seed(1)
    assert not torch.allclose(first, encoder(batch.passes[0]), atol=1e-3), (
        "dropout must be active for this test to mean anything"
    )
    plain_encoder, plain_objective = copy.deepcopy((encoder, objective))
    loss, aligned, accuracy = by_hand(
        plain_objective, plain_encoder, batch, seed=5, scale=0.1, cosines=chosen.get("scale", 20.0)
    )
    result = objective.step(encoder, batch, scale=0.1, backward=torch.Tensor.backward, seed=5)
    assert result.count == objective.count(batch) == len(TEXTS)
    torch.testing.assert_close(result.loss_sum.double(), loss, rtol=1e-5, atol=1e-5)  # float32 against float64
    torch.testing.assert_close(result.metrics["alignment"].double(), aligned, rtol=1e-5, atol=1e-5)
    assert float(result.metrics["accuracy"]) == float(accuracy)
    compared = 0
    for ours, plain in ((encoder, plain_encoder), (objective, plain_objective)):
        for (name, parameter), reference in zip(ours.named_parameters(), plain.parameters()):
            if not parameter.requires_grad:
                continue
            compared += 1
            error = (parameter.grad - reference.grad).norm() / reference.grad.norm().clamp_min(1e-6)
            assert float(error) < 1e-4, (name, float(error))  # float32 sums in another order over two layers
    assert compared == (2 * 14 + 2 if lora else 2 + 2 * 9 + 2)


def test_batch_holds_every_text_twice_in_order():
    encoder = make_encoder()[0].eval()
    _, batch = ready(encoder)
    assert all(part.tokens <= 64 or part.rows == 1 for part in batch.passes)
    assert all(part.plan.total % 64 == 0 for part in batch.passes)
    assert sum(part.rows for part in batch.passes) == 2 * len(TEXTS)
    lengths = [length for part in batch.passes for length in part.plan.lengths[: part.rows]]
    assert lengths == sorted(lengths, reverse=True)
    with torch.no_grad():
        vectors = torch.cat([encoder(part) for part in batch.passes])[batch.order]
    alone = torch.from_numpy(encoder.encode(TEXTS))
    for view in vectors.chunk(2):
        torch.testing.assert_close(view, alone, rtol=1e-5, atol=1e-5)


def test_texts_are_cut_to_max_length():
    encoder = make_encoder()[0]
    rows = ContrastiveConfig(max_length=6, attention_dropout=0.1).build(encoder).prepare(TEXTS, encoder)
    assert max(len(row.ids) for row in rows) == 6


@pytest.mark.parametrize("views", ["delete_word", "crop"])
def test_discrete_views_change_the_second_view_only(views):
    encoder = make_encoder()[0].eval()
    objective, batch = ready(encoder, views=views, attention_dropout=None)
    vectors = torch.cat([encoder(part) for part in batch.passes])[batch.order]
    first, second = vectors.chunk(2)
    torch.testing.assert_close(first, torch.from_numpy(encoder.encode(TEXTS)), rtol=1e-5, atol=1e-5)
    assert (torch.nn.functional.cosine_similarity(first, second) < 0.9999).sum() >= len(TEXTS) - 1
    result = objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0)
    assert float(result.metrics["alignment"]) < 1
    _, again = ready(encoder, views=views, attention_dropout=None)
    _, other = ready(encoder, views=views, attention_dropout=None, seed=1)
    ids = lambda batch: [part.input_ids.tolist() for part in batch.passes]  # noqa: E731
    assert ids(batch) == ids(again)
    assert ids(batch) != ids(other)


def test_without_any_dropout_equal_views_are_refused():
    encoder = make_encoder()[0].train()
    objective, batch = ready(encoder, attention_dropout=None)
    with pytest.raises(InputError, match=r"objective\.views: 'dropout' needs dropout, but none is active in the model"):
        objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0)


@pytest.mark.parametrize("kind", ["attention_dropout", "hidden_dropout"])
def test_either_dropout_alone_tells_the_views_apart(kind):
    encoder = make_encoder()[0].train()
    objective, batch = ready(encoder, **{"attention_dropout": None, kind: 0.3})
    result = objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0)
    assert float(result.metrics["alignment"]) < 0.999


def test_two_texts_are_one_negative_each():
    encoder = make_encoder()[0].train()
    objective = ContrastiveConfig(attention_dropout=0.1).build(encoder)
    batch = objective.collate(objective.prepare(TEXTS[:2], encoder), generator())
    result = objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0)
    assert result.count == objective.count(batch) == 2
    assert float(result.loss_sum) > 0


def test_fillers_are_a_token_of_the_model_without_a_padding_token():
    encoder = make_encoder()[0].eval()
    encoder.tokenizer.pad_token = None
    batch = ready(encoder, attention_dropout=None, views="crop")[1]
    filled = [part.input_ids for part in batch.passes if len(part.plan.lengths) > part.rows]
    assert filled and all(int(ids.min()) >= 0 and int(ids.max()) < len(encoder.tokenizer) for ids in filled)
    vectors = torch.cat([encoder(part) for part in batch.passes])[batch.order]
    torch.testing.assert_close(vectors[: len(TEXTS)], torch.from_numpy(encoder.encode(TEXTS)), rtol=1e-5, atol=1e-5)


def test_evaluation_mode_is_refused():
    encoder = make_encoder()[0].eval()
    objective, batch = ready(encoder)
    with pytest.raises(RuntimeError, match="evaluation mode"):
        objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0)


def test_same_seed_same_numbers_and_the_callers_generator_stays():
    results = []
    for seed in (3, 3, 4):
        encoder = make_encoder()[0].train()
        objective, batch = ready(encoder)
        torch.manual_seed(21)
        result = objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=seed)
        after = torch.rand(1)
        torch.manual_seed(21)
        assert torch.equal(after, torch.rand(1))
        results.append((float(result.loss_sum), encoder.backbone.layers[0].mlp.up_proj.weight.grad))
    assert results[0][0] == results[1][0] != results[2][0]
    assert torch.equal(results[0][1], results[1][1])


def test_release_gives_the_encoder_its_own_dropout_back():
    encoder = make_encoder()[0].train()
    objective, _ = ready(encoder, hidden_dropout=0.1)
    assert active_dropout(encoder)
    assert encoder.backbone.config.attention_dropout == 0.3
    objective.release()
    assert not active_dropout(encoder)
    assert encoder.backbone.config.attention_dropout == 0.0


def test_mlp_layer_is_outside_the_encoder():
    encoder = make_encoder()[0]
    names = set(encoder.state_dict())
    objective, _ = ready(encoder, mlp=True)
    assert set(encoder.state_dict()) == names
    assert sum(parameter.numel() for parameter in objective.parameters() if parameter.requires_grad) == 32 * 32 + 32


@pytest.mark.parametrize(
    ("directions", "rows", "learn"), [(("query_to_doc", "doc_to_doc"), 2, True), (None, 2, False), (None, 3, True)]
)
def test_rows_without_a_negative_learn_from_further_columns_alone(directions, rows, learn):
    """Both rows have one answer, so neither is a negative of the other. A third row's answer is one."""
    objective = ContrastiveConfig(attention_dropout=0.1, directions=directions).build(make_encoder()[0])
    texts = BatchTexts(
        torch.tensor([[5], [5], [6]])[:rows], torch.tensor([5, 5, 6])[:rows], torch.tensor([]).long(), torch.full((rows,), NONE)
    )
    owner, everybody = torch.tensor([]).long(), torch.ones(rows, dtype=torch.bool)
    assert objective.learning(owner, texts, everybody).tolist() == [learn] * rows
    assert not objective.learning(owner, None, everybody[:1]).any()
    assert not objective.learning(owner, texts, ~everybody).any()


def test_one_text_is_refused():
    encoder = make_encoder()[0]
    with pytest.raises(InputError, match="needs at least two texts"):
        ContrastiveConfig(attention_dropout=0.1).build(encoder).prepare(["alone"], encoder)


def test_copies_of_one_text_alone_are_refused():
    encoder, _ = make_encoder()
    objective, _ = ready(encoder)
    with pytest.raises(InputError, match="all 3 texts are the same"):
        objective.prepare(["a", "a", "a"], encoder)
    assert len(objective.prepare(["a", "b", "a"], encoder)) == 3


def test_config_names_unknown_keys():
    with pytest.raises(InputError, match="unknown key 'temperature'"):
        parse(ContrastiveConfig, {"kind": "contrastive", "temperature": 0.05}, where="recipe.yaml")


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        encoder = make_encoder()[0].train()
        if checkpointing:
            encoder.backbone.gradient_checkpointing_enable({"use_reentrant": False})
        objective, batch = ready(encoder, hidden_dropout=0.1, graph_tokens=100)
        objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0)
        gradients.append(encoder.backbone.layers[0].self_attn.q_proj.weight.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


def test_training_tells_the_texts_apart():
    encoder = make_encoder()[0].train()
    objective, batch = ready(encoder, attention_dropout=0.1, hidden_dropout=0.1, graph_tokens=10_000)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=3e-3)
    results = []
    for step in range(25):
        results.append(objective.step(encoder, batch, scale=1 / batch.rows, backward=torch.Tensor.backward, seed=step))
        optimizer.step()
        optimizer.zero_grad()
    assert float(results[-1].loss_sum) < 0.5 * float(results[0].loss_sum)
    assert float(results[-1].metrics["accuracy"]) >= 0.9
