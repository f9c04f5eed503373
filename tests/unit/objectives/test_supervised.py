"""Labelled rows on a real packed encoder: brute-force loss and gradients with dropout, draws,
prompts, refusals, two processes.
"""

from __future__ import annotations

import copy
import socket
from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist

from bothways.backbone.adapter.lora import attach
from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.config import parse
from bothways.data.labeled.example import Example
from bothways.data.labeled.right_answers import text_id
from bothways.errors import InputError
from bothways.losses.false_negatives import NONE
from bothways.objectives.seeding import pass_seed
from bothways.objectives.supervised import SupervisedConfig
from bothways.pooling import LatentAttention
from unit.objectives.small_encoder import make_encoder
from warm import start

ASK, SAME = "Find what answers the question: ", "Find texts that mean the same: "
ROWS = [
    Example("Where is it?", ("It is there.",), ("It was there, once upon a time, and is no more.",), query_prompt=ASK, task="qa"),
    Example("Who came?", ("Two people came.", "They came"), ("Nobody left", "It is there."), query_prompt=ASK, task="qa"),
    Example("When was that?", ("On a day in May.",), (), query_prompt=ASK, task="qa"),
    Example("A dog runs", ("The dog is running.",), ("No dog runs", "A cat", "A dog sleeps"), (1.0,), (0.2, 0.1, 0.5), SAME, SAME, "nli"),
    Example("Snow fell", ("It snowed.",), ("The sun shone",), (3.0,), (1.0,), SAME, SAME, "nli"),
    Example("great!", ("I loved this film",), ("dull from start to end",), task="mood", label="good"),
    Example("a joy", ("good, good, good",), ("dull from start to end",), task="mood", label="good"),
]  # fmt: skip


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(pooling: str = "mean", seed: int = 0):
    encoder = make_encoder(seed)[0].train()
    if pooling == "latent":
        torch.manual_seed(1)
        encoder.pooling = LatentAttention(32, latents=8, heads=2)
    return encoder


def ready(encoder, rows=ROWS, seed: int = 0, **options):
    """A built objective and one batch of all rows."""
    torch.manual_seed(0)  # the train-only layer's weights
    given = {"attention_dropout": 0.3, "batch_tokens": 64, "graph_tokens": 0, "scale": 20.0, **options}
    objective = SupervisedConfig(**given).build(encoder)
    return objective, objective.collate(objective.prepare(rows, encoder), generator(seed))


def by_hand(objective, encoder, batch, seed: int, scale: float, log_weight: float):
    """One graph over all passes and the formula in float64: positives of all rows, then hard
    negatives of all rows.
    """
    outputs = []
    for index, part in enumerate(batch.passes):
        torch.manual_seed(pass_seed(seed, index))
        outputs.append(objective.projection(encoder(part)))
    vectors = torch.nn.functional.normalize(torch.cat(outputs)[batch.order].double(), dim=-1)
    count = len(ROWS)
    query, columns = vectors[:count], vectors[count:]
    logits = 20.0 * query @ columns.T
    for place, owner in enumerate(batch.owner.tolist()):
        logits[owner, count + place] = logits[owner, count + place] + log_weight
    loss = -logits.log_softmax(-1).diagonal().sum()
    (loss * scale).backward()
    return loss.detach()


@pytest.mark.parametrize("graph_tokens", [0, 200, 10_000])
@pytest.mark.parametrize("pooling", ["mean", "latent"])
def test_step_equals_brute_force_with_dropout_active(graph_tokens, pooling):
    encoder = make(pooling)
    attach(encoder.backbone, LoraConfig(r=4, dropout=0.05))
    for name, parameter in encoder.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=generator())
    options = {"mlp": True, "hidden_dropout": 0.1, "own_negative_log_weight": 0.7, "negatives": 2, "false_negatives": None}
    objective, batch = ready(encoder, graph_tokens=graph_tokens, **options)
    assert len(batch.passes) >= 4
    assert sorted(Counter(batch.owner.tolist()).values()) == [1, 1, 1, 1, 2, 2], "ragged, and one row without"
    torch.manual_seed(0)
    first = encoder(batch.passes[0])
    torch.manual_seed(1)
    assert not torch.allclose(first, encoder(batch.passes[0]), atol=1e-3), "dropout must be active"
    plain_encoder, plain_objective = copy.deepcopy((encoder, objective))
    loss = by_hand(plain_objective, plain_encoder, batch, seed=5, scale=0.1, log_weight=0.7)
    result = objective.step(encoder, batch, scale=0.1, backward=torch.Tensor.backward, seed=5)
    assert result.count == objective.count(batch) == len(ROWS)
    torch.testing.assert_close(result.loss_sum.double(), loss, rtol=1e-5, atol=1e-5)  # float32 against float64
    compared = set()
    for ours, plain in ((encoder, plain_encoder), (objective, plain_objective)):
        for (name, parameter), reference in zip(ours.named_parameters(), plain.parameters()):
            if parameter.requires_grad:
                compared.add(name.split(".")[0])
                # float32 sums in another order over two layers, but never less exact than a part in
                # a million of a gradient of 1
                error = (parameter.grad - reference.grad).norm() / reference.grad.norm().clamp_min(1e-6)
                assert float(error) < 1e-4, (name, float(error))
    assert compared == {"backbone", "projection"} | ({"pooling"} if pooling == "latent" else set())


def test_batch_holds_prompted_texts_in_order_and_each_document_once():
    encoder = make().eval()
    _, batch = ready(encoder, negatives=3)
    with torch.no_grad():
        vectors = torch.cat([encoder(part) for part in batch.passes])[batch.order]
    queries = [(row.query_prompt, row.query) for row in ROWS]
    texts = {(row.document_prompt, text) for row in ROWS for text in row.positives + row.negatives}
    known = {text: encoder.encode(text) for text in {*queries, *texts}}
    for row, vector in zip(ROWS, vectors):
        torch.testing.assert_close(vector, torch.from_numpy(known[row.query_prompt, row.query]), rtol=1e-4, atol=1e-4)
    for row, vector in zip(ROWS, vectors[len(ROWS) :]):
        near = [torch.from_numpy(known[row.document_prompt, text]) for text in row.positives]
        assert any(torch.allclose(vector, each, rtol=1e-4, atol=1e-4) for each in near)
    for owner, vector in zip(batch.owner.tolist(), vectors[2 * len(ROWS) :]):
        near = [torch.from_numpy(known[ROWS[owner].document_prompt, text]) for text in ROWS[owner].negatives]
        assert any(torch.allclose(vector, each, rtol=1e-4, atol=1e-4) for each in near)
    drawn = batch.order.shape[0]
    assert drawn == 2 * len(ROWS) + sum(len(row.negatives) for row in ROWS)
    encoded = sum(part.rows for part in batch.passes)
    assert encoded in (drawn - 1, drawn - 2)  # "dull …" occurs twice, "It is there." is a positive and a negative

    assert torch.equal(batch.order[[-1]], batch.order[[-2]])  # both rows about films have the same negative


def test_an_instruction_is_seen_and_never_pooled():
    encoder = make().eval()
    bare = [replace(row, query_prompt="", document_prompt="") for row in ROWS]
    _, with_prompt = ready(encoder)
    _, without = ready(encoder, bare)
    pooled = [sum(int(part.pool.sum()) for part in batch.passes) for batch in (with_prompt, without)]
    tokens = [sum(part.tokens for part in batch.passes) for batch in (with_prompt, without)]
    assert pooled[0] <= pooled[1] == tokens[1] < tokens[0]  # a token may join the prompt's last blank and the text's first word


def test_draws_follow_the_generator_and_reach_every_text():
    encoder = make()
    objective, first = ready(encoder)
    ids = lambda batch: [part.input_ids.tolist() for part in batch.passes]  # noqa: E731
    examples = objective.prepare(ROWS, encoder)
    assert ids(objective.collate(examples, generator())) == ids(first)
    assert len({str(ids(objective.collate(examples, generator(seed)))) for seed in range(10)}) > 3
    texts = Counter()
    for seed in range(300):
        batch = objective.collate([ROWS[1], ROWS[3]], generator(seed))
        texts.update(batch.texts.positive.tolist() + batch.texts.negative.tolist())
        assert batch.owner.tolist() == [0, 1]
    for row, pick in ((ROWS[1], ROWS[1].positives), (ROWS[1], ROWS[1].negatives), (ROWS[3], ROWS[3].negatives)):
        for text in pick:
            # 300 draws: five standard deviations of a binomial around the even share
            share = 1 / len(pick)
            assert abs(texts[text_id(text)] - 300 * share) < 5 * (300 * share * (1 - share)) ** 0.5 + 1, (row.query, text)


def test_identities_and_scores_travel_with_the_rows():
    encoder = make()
    _, batch = ready(encoder, negatives=1, distillation={"weight": 0.5})
    assert batch.texts.known[1].tolist()[:3] == [text_id(text) for text in ("Who came?", "Two people came.", "They came")]
    assert batch.texts.known[0, 2] == NONE
    assert batch.texts.label[5] == batch.texts.label[6] == text_id("mood", "good")
    assert batch.texts.label[0] == NONE
    assert batch.teacher.positive.isnan().tolist() == [True, True, True, False, False, True, True]
    row = batch.owner.tolist().index(3)
    assert float(batch.teacher.negative[row]) in [pytest.approx(score) for score in (0.2, 0.1, 0.5)]


def test_metrics_tell_what_was_masked_and_how_far_the_teacher_is():
    encoder = make()
    objective, batch = ready(encoder, distillation={}, negatives=2)
    result = objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0)
    # the two films of one label mask each other's positive; "It is there." answers row 0 and is a
    # negative of row 1
    assert float(result.metrics["masked"]) * len(ROWS) == pytest.approx(3)
    # the mean over rows, before its weight
    objective, batch = ready(encoder, distillation={"weight": 3.0}, negatives=2)
    more = objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0)
    divergence = (float(more.loss_sum) - float(result.loss_sum)) / 2
    assert divergence > 0.1
    assert float(result.metrics["divergence"]) == pytest.approx(divergence / len(ROWS), rel=1e-4)
    assert float(more.metrics["divergence"]) == pytest.approx(divergence / len(ROWS), rel=1e-4)
    objective, batch = ready(encoder, false_negatives=None)
    result = objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0)
    assert "masked" not in result.metrics


def test_a_teachers_temperature_follows_its_scores():
    cosines = [
        replace(row, positive_scores=(0.8,) * len(row.positives), negative_scores=(0.5,) * len(row.negatives)) for row in ROWS
    ]
    logits = [replace(row, positive_scores=(8.0,) * len(row.positives)) for row in cosines]
    for rows, given, expected in ((cosines, {}, 1 / 50), (logits, {}, 1.0), (cosines, {"temperature": 0.3}, 0.3)):
        encoder = make()
        objective = SupervisedConfig(distillation=given).build(encoder)
        objective.prepare(rows, encoder)
        assert objective.options.distillation.temperature == expected


def test_evaluation_without_gradients_gives_the_loss_without_dropout():
    encoder = make()
    objective, batch = ready(encoder, attention_dropout=None)
    trained = objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0)
    with torch.no_grad():
        read = objective.step(encoder.eval(), batch, scale=1.0, backward=pytest.fail, seed=0)
    torch.testing.assert_close(read.loss_sum, trained.loss_sum)


def test_matryoshka_trains_the_first_numbers():
    encoder = make()
    objective, batch = ready(encoder, matryoshka=[32, 8], attention_dropout=None)
    whole, part = (ready(encoder, matryoshka=[width], attention_dropout=None)[0] for width in (32, 8))
    totals = [
        float(each.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0).loss_sum)
        for each in (objective, whole, part)
    ]
    assert totals[0] == pytest.approx(totals[1] + totals[2], rel=1e-5)
    with pytest.raises(InputError, match="width 64 exceeds the vectors' 32 dimensions"):
        ready(encoder, matryoshka=[64])


def test_training_finds_the_answers():
    encoder = make()
    objective, batch = ready(encoder, hidden_dropout=0.1, graph_tokens=10_000, negatives=3)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=3e-3)
    results = []
    for step in range(30):
        results.append(objective.step(encoder, batch, scale=1 / batch.rows, backward=torch.Tensor.backward, seed=step))
        optimizer.step()
        optimizer.zero_grad()
    assert float(results[-1].loss_sum) < 0.3 * float(results[0].loss_sum)
    assert float(results[-1].metrics["accuracy"]) >= 0.8


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (ROWS[2:3], {}, r"needs at least two rows, or hard negatives \(got 1"),
        ([replace(row, negatives=()) for row in ROWS[:3]], {"in_batch": False}, "in_batch is off and no hard negatives take part"),
        (ROWS, {"in_batch": False, "negatives": 0}, "has no negatives"),
        (ROWS[:3], {"distillation": {}}, "distillation needs rows with positive_scores and negative_scores"),
        ([ROWS[0], "text"], {}, r"examples\[1\]: expected an Example \(got str\)"),
        ([ROWS[0], Example("q", (3,))], {}, r"examples\[1\]: holds a int in the place of a text"),
        (ROWS, {"max_length": 6}, r"prompt 'Find what answers the question: ': .* leaves no token for the text"),
    ],
)  # fmt: skip
def test_wrong_rows_are_refused_before_training(rows, options, message):
    with pytest.raises(InputError, match=message):
        ready(make(), rows, **options)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": 0.05}, "unknown key 'temperature'"),
        ({"matryoshka": [8, 8]}, "matryoshka: widths"),
        ({"matryoshka_weights": [1.0]}, "there are no widths for these weights"),
        ({"false_negatives": {"fracton": 0.95}}, "did you mean 'fraction'"),
        ({"negatives": -1}, "negatives"),
    ],
)
def test_wrong_choices(values, message):
    with pytest.raises(InputError, match=message):
        parse(SupervisedConfig, {"kind": "supervised", **values}, where="recipe.yaml")


SPLITS = ((0, 4), (4, 7))
EXACT = {
    "attention_dropout": None,
    "negatives": 3,
    "graph_tokens": 100,
    "distillation": {"temperature": 1.0},
    "matryoshka": [32, 16],
}


def process(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    encoder = make("latent")
    objective, batch = ready(encoder, FIXED[slice(*SPLITS[rank])], **EXACT)
    result = objective.step(encoder, batch, scale=0.2, backward=torch.Tensor.backward, seed=0)
    found = {name: parameter.grad for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    torch.save((result.loss_sum, found), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


FIXED = [replace(row, positives=row.positives[:1], positive_scores=(row.positive_scores or (2.0,))[:1]) for row in ROWS]


@pytest.mark.skipif(
    not dist.is_available() or not dist.is_gloo_available(), reason="torch.distributed has no gloo backend here"
)
def test_two_processes_equal_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start(process, (port, str(tmp_path)), 2)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    encoder = make("latent")
    objective, batch = ready(encoder, FIXED, **EXACT)
    result = objective.step(encoder, batch, scale=0.2, backward=torch.Tensor.backward, seed=0)
    torch.testing.assert_close(parts[0][0] + parts[1][0], result.loss_sum, rtol=1e-5, atol=1e-5)
    compared = set()
    for name, parameter in encoder.named_parameters():
        summed = sum(part[1][name] for part in parts)
        compared.add(name.split(".")[0])
        error = (summed - parameter.grad).norm() / parameter.grad.norm().clamp_min(1e-6)
        assert float(error) < 1e-4, (name, float(error))  # float32 sums in another order
    assert compared == {"backbone", "pooling"}


def test_memory_does_not_grow_with_the_batch():
    """No pass has a graph while the vectors are collected, for any number of passes."""
    encoder = make()
    numbers, encoded = [], []
    plain_pool = encoder.pooling.forward

    def counting(*arguments):
        result = plain_pool(*arguments)
        encoded.append(result.grad_fn is not None)
        return result

    encoder.pooling.forward = counting
    for copies in (1, 10):
        rows = [replace(row, query=f"{row.query} {number}") for number in range(copies) for row in ROWS]
        objective, batch = ready(encoder, rows, graph_tokens=60)
        encoded.clear()
        objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0)
        passes = len(batch.passes)
        assert len(encoded) == 2 * passes, "a batch of more than eight times graph_tokens keeps nothing"
        assert not any(encoded[:passes])
        assert all(encoded[passes:])
        numbers.append(passes)
    assert numbers[1] > 4 * numbers[0]
