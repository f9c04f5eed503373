"""The linear probe against a plain torch loop; columns do not touch each other; the step is chosen
on dev.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bothways.errors import InputError
from bothways.evaluation.probing.linear_probe import ProbeSettings, Split, fit


def split(seed, sentences=40, width=6, dtype=np.float32):
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(rng.integers(1, 7, sentences))])
    vectors = rng.standard_normal((int(starts[-1]), width))
    classes = {"sign": (vectors[:, 0] > 0).astype(np.int64), "most": vectors[:, :3].argmax(1)}
    return Split(vectors.astype(dtype), starts, classes)


COUNTS = {"sign": 2, "most": 3}


def test_equals_a_plain_loop():
    """Without dropout and with all sentences in a batch, order and masks do not matter."""
    train = split(0)
    train.vectors[:] *= 20  # the gradient's norm starts far above 1, where it is clipped, and falls below
    settings = ProbeSettings(dropout=0.0, lr=0.3, batch_size=40, steps=30, epochs=50, dev_every=30)
    found = fit(train, split(1), {"most": 3}, settings, seed=5, show=False)["most"]

    layer = nn.Linear(6, 3).double()
    with torch.no_grad():
        layer.weight.copy_(torch.empty(3, 6).normal_(0, 0.02, generator=torch.Generator().manual_seed(5)))
        layer.bias.zero_()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 50)  # one step an epoch, 50 epochs
    vectors, target = torch.from_numpy(train.vectors).double(), torch.from_numpy(train.classes["most"])
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(layer(vectors), target).backward()
        nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    # float32 against float64 over 30 steps of Adam
    torch.testing.assert_close(found.weight.double(), layer.weight, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.bias.double(), layer.bias, atol=1e-4, rtol=1e-4)


def test_a_column_is_trained_as_if_it_were_alone():
    settings = ProbeSettings(lr=0.05, steps=40, dev_every=10)
    both = fit(split(0), split(1), COUNTS, settings, seed=1, show=False)
    for column, count in COUNTS.items():
        alone = fit(split(0), split(1), {column: count}, settings, seed=1, show=False)[column]
        assert torch.equal(alone.weight, both[column].weight)
        assert alone.dev == both[column].dev


def test_learns_and_says_how_well():
    settings = ProbeSettings(lr=0.05, steps=300, dev_every=50)
    dev = split(1, dtype=np.float16)
    found = fit(split(0, sentences=150, dtype=np.float16), dev, COUNTS, settings, seed=0, show=False)
    for column, probe in found.items():
        accuracy = (probe.predict(dev.vectors) == dev.classes[column]).mean()
        assert accuracy > 0.9
        assert accuracy == probe.dev[probe.step] == max(probe.dev.values())
        assert probe.step == min(step for step, value in probe.dev.items() if value == accuracy)
        assert list(probe.dev) == [50, 100, 150, 200, 250, 300]


def test_same_seed_same_probe():
    settings = ProbeSettings(steps=7, dev_every=5)
    one, again, other = (fit(split(0), split(1), COUNTS, settings, seed=seed, show=False)["sign"] for seed in (0, 0, 1))
    assert torch.equal(one.weight, again.weight)
    assert not torch.equal(one.weight, other.weight)
    assert list(one.dev) == [5, 7]


def test_dropout_acts():
    weights = [
        fit(split(0), split(1), COUNTS, ProbeSettings(dropout=rate, steps=20, dev_every=20), seed=0, show=False)["sign"].weight
        for rate in (0.0, 0.5)
    ]
    assert not torch.equal(*weights)


def test_a_class_that_training_lacks_is_never_right():
    dev = split(1)
    unknown = Split(dev.vectors, dev.starts, {"sign": np.full(len(dev.vectors), -1)})
    found = fit(split(0), unknown, {"sign": 2}, ProbeSettings(steps=3, dev_every=1), seed=0, show=False)["sign"]
    assert found.dev == {1: 0.0, 2: 0.0, 3: 0.0}
    assert found.step == 1


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"batch_size": 0}, {"dev_every": 0}, {"dropout": 1.0}, {"lr": 0.0}, {"epochs": 0}]
)
def test_settings_out_of_range(wrong):
    with pytest.raises(InputError, match="probe"):
        ProbeSettings(**wrong)
