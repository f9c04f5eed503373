"""A linear probe on frozen word vectors: one linear layer for each tag column.

The protocol is that of LLM2Vec's word-level tasks (arXiv 2404.05961, section 3.1, and its code):
dropout 0.1 on the word vector, one linear layer, and cross-entropy over all words of a batch of 8
sentences. The optimizer is AdamW at 5e-4 without weight decay, with the gradient norm clipped at 1
and a rate that falls linearly over 10 epochs. Training stops at 4000 steps. The layer starts at
N(0, 0.02²) and zero. The best step is chosen on the dev set, every 500 steps. Computation is in
float32 (LLM2Vec's is in bfloat16).

All columns are trained together. They share batches and dropout masks and nothing else, so each is
trained as if it were alone.

Letters: W words, S sentences, H hidden, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from bothways.errors import InputError
from bothways.progress import Progress

_ROWS = 8192  # words classified at a time
# initializer_range of the Llama and Mistral configurations, with which LLM2Vec's layer starts
_DEVIATION = 0.02


@dataclass(frozen=True)
class ProbeSettings:
    """How probes are trained. The defaults are LLM2Vec's.

    Attributes:
        dropout: dropout rate on the word vectors.
        lr: initial learning rate.
        batch_size: sentences of a step.
        steps: maximal number of steps.
        epochs: the rate reaches 0 after this number of epochs, or at the last step if that is
            later.
        dev_every: steps between two evaluations on the dev set.
    """

    dropout: float = 0.1
    lr: float = 5e-4
    batch_size: int = 8
    steps: int = 4000
    epochs: float = 10.0
    dev_every: int = 500

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        for name in ("batch_size", "steps", "dev_every"):
            if getattr(self, name) < 1:
                raise InputError(f"probe {name}: must be at least 1 (got {getattr(self, name)})")
        if not 0 <= self.dropout < 1 or self.lr <= 0 or self.epochs <= 0:
            raise InputError(
                f"probe: dropout must be in [0, 1), and lr and epochs above 0 (got {self})"
            )


@dataclass(frozen=True)
class Split:
    """Words with their classes.

    Attributes:
        vectors: (W, H), any float type.
        starts: (S + 1,) first word of each sentence, and W.
        classes: (W,) int64 by column. A tag that the training data lacks is -1, which a probe
            cannot predict.
    """

    vectors: np.ndarray
    starts: np.ndarray
    classes: dict[str, np.ndarray]


@dataclass(frozen=True)
class Fitted:
    """One column's probe at its best step.

    Attributes:
        weight: (C, H).
        bias: (C,).
        step: the chosen step.
        dev: accuracy on the dev set by step, in [0, 1].
    """

    weight: Tensor
    bias: Tensor
    step: int
    dev: dict[int, float] = field(default_factory=dict)

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        """Return the class (W,) int64 of each word."""
        return _predict(vectors, self.weight, self.bias)


def fit(
    train: Split,
    dev: Split,
    classes: dict[str, int],
    settings: ProbeSettings,
    *,
    seed: int,
    show: bool | None = None,
) -> dict[str, Fitted]:
    """Train one probe for each column and keep each at its best dev accuracy.

    Among equal accuracies the earliest step is kept.

    Args:
        train: training data, which is visited in a random order.
        dev: data on which the step is chosen.
        classes: number of classes by column, for example `{"pos": 45, "ner": 9}`.
        settings: how to train.
        seed: seed of initial weights, order and dropout.
        show: whether to show progress. If None, show it when training takes long.

    Returns:
        The probe of each column.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = {
        column: _layer(train.vectors.shape[1], count, seed) for column, count in classes.items()
    }
    optimizer = torch.optim.AdamW(
        [p for layer in layers.values() for p in layer.parameters()],
        lr=settings.lr,
        weight_decay=0.0,
    )
    horizon = max(
        settings.steps, settings.epochs * -(-(len(train.starts) - 1) // settings.batch_size)
    )
    best: dict[str, Fitted] = {}
    curves: dict[str, dict[int, float]] = {column: {} for column in classes}
    with Progress("probe", settings.steps, "steps", show=show) as bar:
        for step, words in enumerate(_batches(train.starts, settings, generator), start=1):
            for group in optimizer.param_groups:
                group["lr"] = settings.lr * (1 - (step - 1) / horizon)
            _step(layers, optimizer, train, words, settings.dropout, generator)
            if step % settings.dev_every == 0 or step == settings.steps:
                for column, layer in layers.items():
                    _look(column, layer, dev, step, curves[column], best)
            bar.advance()
    return best


def _layer(width: int, count: int, seed: int) -> nn.Linear:
    generator = torch.Generator().manual_seed(
        seed
    )  # one for each column, which makes it independent of the others
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, width, count)
    with torch.no_grad():
        layer.weight.normal_(0, _DEVIATION, generator=generator)
        layer.bias.zero_()
    return layer


def _batches(
    starts: np.ndarray, settings: ProbeSettings, generator: torch.Generator
) -> Iterator[np.ndarray]:
    """Yield the row numbers of the words of each step's sentences.

    Every sentence occurs once in an epoch.
    """
    step = 0
    while True:
        order = torch.randperm(len(starts) - 1, generator=generator).numpy()
        for first in range(0, len(order), settings.batch_size):
            yield np.concatenate(
                [
                    np.arange(starts[s], starts[s + 1])
                    for s in order[first : first + settings.batch_size]
                ]
            )
            step += 1
            if step == settings.steps:
                return


def _step(
    layers: dict[str, nn.Linear],
    optimizer: torch.optim.Optimizer,
    train: Split,
    words: np.ndarray,
    dropout: float,
    generator: torch.Generator,
) -> None:
    vectors = torch.from_numpy(np.asarray(train.vectors[words], dtype=np.float32))
    kept = torch.rand(vectors.shape, generator=generator) >= dropout
    vectors = vectors * kept / (1 - dropout)
    optimizer.zero_grad()
    for column, layer in layers.items():
        target = torch.from_numpy(train.classes[column][words])
        nn.functional.cross_entropy(layer(vectors), target).backward()
        nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
    optimizer.step()


def _look(
    column: str,
    layer: nn.Linear,
    dev: Split,
    step: int,
    curve: dict[int, float],
    best: dict[str, Fitted],
) -> None:
    weight, bias = layer.weight.detach(), layer.bias.detach()
    accuracy = float((_predict(dev.vectors, weight, bias) == dev.classes[column]).mean())
    if accuracy > max(curve.values(), default=-1.0):
        best[column] = Fitted(weight.clone(), bias.clone(), step, curve)
    curve[step] = accuracy


def _predict(vectors: np.ndarray, weight: Tensor, bias: Tensor) -> np.ndarray:
    parts = [
        nn.functional.linear(
            torch.from_numpy(np.asarray(vectors[start : start + _ROWS], dtype=np.float32)),
            weight,
            bias,
        ).argmax(1)
        for start in range(0, len(vectors), _ROWS)
    ]
    return torch.cat(parts).numpy()
