"""Learning rate and optimiser against transformers' schedules and a hand-written AdamW step."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from transformers import TrainingArguments, get_scheduler

from bothways.config import parse
from bothways.errors import InputError
from bothways.training.loop.optim import (
    OptimConfig,
    block_count,
    build_optimizer,
    lr_factor,
    rate_share,
    set_lr,
    warn_of_idle_rates,
)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warmup", [0, 7])
def test_schedules_equal_those_of_transformers(schedule: str, warmup: int) -> None:
    horizon = 40
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    name = {"constant": "constant_with_warmup"}.get(schedule, schedule)
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=horizon)
    config = OptimConfig(schedule=schedule, warmup_steps=warmup)
    for step in range(horizon + 1):
        # the same float64 arithmetic
        assert lr_factor(config, step, horizon) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12), step
        optimizer.step()
        scheduler.step()


def test_llm2vec_rate_at_the_stop() -> None:
    """methods.md 1b: one million sentences in batches of 128, three epochs: about 96 % of the peak
    at step 1000.
    """
    config = OptimConfig(lr=3e-5, epochs=3, stop_after_steps=1000)
    per_epoch = 1_000_000 // 128
    assert config.stop(per_epoch) == 1000
    assert lr_factor(config, 1000, config.horizon(per_epoch)) == pytest.approx(0.957, abs=5e-4)


def test_horizon_and_stop() -> None:
    assert OptimConfig().horizon(10) == 30
    assert OptimConfig(epochs=0.25).horizon(10) == 3
    assert OptimConfig(steps=7).stop(10) == 7
    assert OptimConfig(steps=7, stop_after_steps=99).stop(10) == 7
    assert OptimConfig(epochs=0.01).horizon(10) == 1
    assert lr_factor(OptimConfig(warmup_ratio=0.1), 1, 20) == 0.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 1, "steps": 2}, "either epochs or steps"),
        ({"warmup_steps": 1, "warmup_ratio": 0.1}, "either warmup_steps or warmup_ratio"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"lr": 0}, "lr"),
        ({"decay_ratio": 0.2}, "belong to the schedule wsd, not to linear"),
        ({"schedule": "constant", "min_lr_ratio": 0.1}, "a constant rate does not fall"),
        ({"layer_decay": 1.0}, "layer_decay"),
        ({"learning_rate": 1}, "unknown key 'learning_rate'"),
    ],
)
def test_contradictions_are_refused(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(OptimConfig, values, where="optim")


def test_first_step_equals_the_formula_and_vectors_are_not_decayed() -> None:
    torch.manual_seed(0)
    matrix, vector = torch.nn.Parameter(torch.randn(3, 2)), torch.nn.Parameter(torch.randn(2))
    start = {"matrix": matrix.detach().clone().double(), "vector": vector.detach().clone().double()}
    config = OptimConfig(lr=1.0, weight_decay=0.1, eps=1e-8)
    optimizer = build_optimizer({"matrix": matrix, "vector": vector}, config)
    set_lr(optimizer, 0.01)
    matrix.grad, vector.grad = torch.randn(3, 2), torch.randn(2)
    optimizer.step()
    # after one step the bias-corrected moments are g and g^2, so the update is lr * g / (|g| + eps)
    for name, parameter, decay in (("matrix", matrix, 0.1), ("vector", vector, 0.0)):
        gradient = parameter.grad.double()
        expected = start[name] * (1 - 0.01 * decay) - 0.01 * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(parameter.detach().double(), expected, atol=1e-6, rtol=1e-6)


def test_two_steps_equal_the_formula_with_every_setting() -> None:
    """Algorithm 2 of the paper, in float64."""
    values = {"lr": 1.0, "weight_decay": 0.2, "betas": (0.6, 0.8), "eps": 0.3}
    parameter = torch.nn.Parameter(torch.randn(3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    optimizer = build_optimizer({"matrix": parameter}, OptimConfig(**values))
    set_lr(optimizer, 0.05)
    expected, first, second = parameter.detach().clone(), torch.zeros(3, 2), torch.zeros(3, 2)
    for step in (1, 2):
        gradient = torch.randn(3, 2, generator=torch.Generator().manual_seed(step + 1), dtype=torch.float64)
        parameter.grad = gradient.clone()
        optimizer.step()
        first = 0.6 * first + 0.4 * gradient
        second = 0.8 * second + 0.2 * gradient**2
        expected = expected * (1 - 0.05 * 0.2)
        expected = expected - 0.05 * (first / (1 - 0.6**step)) / ((second / (1 - 0.8**step)).sqrt() + 0.3)
    torch.testing.assert_close(parameter.detach(), expected, atol=1e-12, rtol=1e-12)


def shares(config: OptimConfig, horizon: int) -> list[float]:
    return [lr_factor(config, step, horizon) for step in range(horizon + 1)]


def library(name: str, horizon: int, **options) -> list[float]:
    """The rates of a scheduler of transformers, peak 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_scheduler(name, optimizer, **options)
    rates = []
    for _ in range(horizon + 1):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("warmup", [0, 7])
def test_a_cosine_to_a_floor_equals_that_of_transformers(warmup: int) -> None:
    theirs = library(
        "cosine_with_min_lr",
        40,
        num_warmup_steps=warmup,
        num_training_steps=40,
        scheduler_specific_kwargs={"min_lr_rate": 0.1},
    )
    ours = shares(OptimConfig(schedule="cosine", warmup_steps=warmup, min_lr_ratio=0.1), 40)
    assert ours == pytest.approx(theirs, abs=1e-12)
    assert ours[-1] == pytest.approx(0.1)


@pytest.mark.parametrize("warmup", [0, 7])
@pytest.mark.parametrize("shape", ["linear", "cosine", "1-sqrt"])
@pytest.mark.parametrize("lowest", [None, 0.2])
def test_warmup_stable_decay_equals_that_of_transformers(warmup: int, shape: str, lowest: float | None) -> None:
    options = {"num_stable_steps": 40 - warmup - 12, "num_decay_steps": 12, "decay_type": shape, "min_lr_ratio": lowest or 0.0}
    theirs = library("warmup_stable_decay", 40, num_warmup_steps=warmup, scheduler_specific_kwargs=options)
    config = OptimConfig(schedule="wsd", warmup_steps=warmup, decay_ratio=0.3, decay_shape=shape, min_lr_ratio=lowest)
    # its warm-up rises from the minimum and not from 0, unlike that of its cosine_with_min_lr
    first = warmup if lowest else 0
    assert shares(config, 40)[first:] == pytest.approx(theirs[first:], abs=1e-12)
    assert lr_factor(config, 0, 40) == (0.0 if warmup else 1.0)


def test_wsd_decays_over_a_tenth_and_a_stop_before_it_keeps_the_peak() -> None:
    rates = shares(OptimConfig(schedule="wsd"), 100)
    assert rates[:91] == [1.0] * 91
    assert rates[95] == pytest.approx(0.5)
    assert rates[100] == 0
    assert shares(OptimConfig(schedule="linear", min_lr_ratio=0.5), 10)[5] == 0.75


def parameters() -> dict[str, torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    names = {
        "encoder.backbone.embed_tokens.weight": (4, 3),
        "encoder.backbone.layers.0.mlp.weight": (3, 3),
        "encoder.backbone.layers.0.norm.weight": (3,),
        "encoder.backbone.layers.2.mlp.lora_A.default.weight": (2, 3),
        "encoder.backbone.norm.weight": (3,),
        "encoder.pooling.layer.latents": (2, 3),
        "objective.projection.0.weight": (3, 3),
    }
    return {name: torch.nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in names.items()}


def test_groups_equal_a_torch_optimizer_with_the_same_rates() -> None:
    config = OptimConfig(lr=0.1, weight_decay=0.2, pooling_lr=0.02, layer_decay=0.5, schedule="wsd", min_lr_ratio=0.1)
    ours, theirs = parameters(), parameters()
    rates = dict(zip(ours, (0.1 * 0.5**3, 0.1 * 0.25, 0.1 * 0.25, 0.1, 0.1, 0.02, 0.1)))
    optimizer = build_optimizer(ours, config, blocks=3)
    plain = torch.optim.AdamW(
        [{"params": [each], "lr": rates[name], "weight_decay": 0.2 if each.ndim > 1 else 0.0} for name, each in theirs.items()]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(plain, lambda step: lr_factor(config, step, 10))
    for step in range(10):
        set_lr(optimizer, config.lr * lr_factor(config, step, 10))
        for name in ours:
            gradient = torch.randn(ours[name].shape, generator=torch.Generator().manual_seed(step))
            ours[name].grad, theirs[name].grad = gradient, gradient.clone()
        optimizer.step()
        plain.step()
        schedule.step()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-7, rtol=1e-6)


def test_the_embeddings_rate_replaces_the_decayed_one() -> None:
    config = OptimConfig(lr=0.1, embedding_lr=0.03, layer_decay=0.5)
    share = {name: rate_share(config, name, 3) for name in parameters()}
    assert share["encoder.backbone.embed_tokens.weight"] == pytest.approx(0.3)
    assert share["encoder.backbone.layers.0.norm.weight"] == 0.25
    assert share["encoder.pooling.layer.latents"] == 1.0


def test_without_rates_of_their_own_there_are_two_groups_as_before() -> None:
    groups = build_optimizer(parameters(), OptimConfig(weight_decay=0.1), blocks=3).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(5, 0.1), (2, 0.0)]
    assert all("share" not in group for group in groups)


def test_blocks_are_counted_by_name() -> None:
    encoder = torch.nn.Module()
    encoder.backbone = torch.nn.Module()
    encoder.backbone.layers = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(4))
    encoder.pooling = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(9))
    assert block_count(encoder) == 4


def test_defaults_are_those_of_transformers_trainer() -> None:
    theirs = {each.name: each.default for each in fields(TrainingArguments)}
    made = OptimConfig()
    assert made.lr == theirs["learning_rate"] and made.weight_decay == theirs["weight_decay"]
    assert made.betas == (theirs["adam_beta1"], theirs["adam_beta2"]) and made.eps == theirs["adam_epsilon"]
    assert made.clip_norm == theirs["max_grad_norm"] and made.schedule == theirs["lr_scheduler_type"]
    assert made.warmup_steps == theirs["warmup_steps"] == 0 and made.warmup_ratio == 0
    assert made.horizon(10) == theirs["num_train_epochs"] * 10
    assert (made.pooling_lr, made.embedding_lr, made.layer_decay) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "least", "below", "most", "above"),
    [
        ("min_lr_ratio", 0, -1e-9, 0.999, 1),
        ("decay_ratio", 1e-9, 0, 1, 1.001),
        ("pooling_lr", 1e-9, 0, None, None),
        ("embedding_lr", 1e-9, 0, None, None),
        ("layer_decay", 1e-9, 0, 0.999, 1),
    ],
)
def test_rates_and_shares_have_bounds(name: str, least: float, below: float, most: float | None, above: float | None) -> None:
    for value in (least, most):
        assert getattr(OptimConfig(schedule="wsd", **{name: value}), name) == value
    for value in (below, above):
        if value is not None:
            with pytest.raises(InputError, match=name):
                parse(OptimConfig, {"schedule": "wsd", name: value}, where="optim")


@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd"])
def test_behind_the_horizon_the_rate_stays_at_the_floor(schedule: str) -> None:
    for floor in (None, 0.1):
        config = OptimConfig(schedule=schedule, min_lr_ratio=floor)
        assert [lr_factor(config, step, 10) for step in (10, 15, 20)] == pytest.approx([floor or 0.0] * 3)


def test_a_new_optimizer_has_the_peak_times_each_share() -> None:
    made = build_optimizer(parameters(), OptimConfig(lr=0.1, pooling_lr=0.02))
    assert {round(group["lr"], 12) for group in made.param_groups} == {0.1, 0.02}


def test_an_encoder_without_numbered_blocks_has_none() -> None:
    assert block_count(torch.nn.Linear(2, 2)) == 0


def test_a_rate_of_a_part_that_is_not_trained_is_named(caplog) -> None:
    config = OptimConfig(pooling_lr=1e-3, embedding_lr=1e-3, layer_decay=0.9)
    adapter = "encoder.backbone.layers.1.mlp.up_proj.lora_A.default.weight"
    warn_of_idle_rates([adapter], config, "simcse")
    assert [record.getMessage() for record in caplog.records] == [
        "stages.simcse.optim.pooling_lr: has no effect, because the stage does not train the pooling",
        "stages.simcse.optim.embedding_lr: has no effect, because the stage does not train the embeddings",
    ]
    caplog.clear()
    warn_of_idle_rates(
        [adapter, "encoder.pooling.layer.output.weight", "encoder.backbone.embed_tokens.weight"], config, "simcse"
    )
    warn_of_idle_rates([adapter], OptimConfig(), "simcse")
    assert not caplog.records
