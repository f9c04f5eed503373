"""The objective's own loss on texts that are not trained on: what LLM2Vec's MNTP script reports every `eval_steps`.

It stands apart from the dev metric because it never chooses a checkpoint: a lower MNTP loss is not a better encoder (methods differ
in what they do to vectors), it only shows whether the objective is still being learned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bothways.encoder.encoder import Encoder
from bothways.objectives.base import Objective
from bothways.training.loop.randomness import derive, generator


class HeldOut:
    """Fixed batches of held-out examples: masks are drawn once, so that readings differ by the model alone.

    Args:
        objective: whose loss it is; its data must need no dropout (MNTP, labelled rows).
        texts: held-out data, of the kind that the objective wants.
        size: examples per batch.
        limit: examples at most; None for all.
        seed: of the masks.
    """

    def __init__(
        self, objective: Objective, encoder: Encoder, texts: Sequence[Any], *, size: int, limit: int | None, seed: int
    ) -> None:
        self.objective, self.seed = objective, seed
        self.examples = list(objective.prepare(texts, encoder))[:limit]
        self.size = size

    def read(self, encoder: Encoder) -> dict[str, float]:
        """`heldout_loss`, the objective's own metrics and, where one is a likelihood, `heldout_perplexity`; in evaluation mode."""
        training = encoder.training, self.objective.training
        encoder.eval()
        self.objective.eval()
        sums: dict[str, float] = {}
        total = 0
        with torch.no_grad():
            for first in range(0, len(self.examples), self.size):
                batch = self.objective.collate(self.examples[first : first + self.size], generator(self.seed, "heldout", first))
                result: dict[str, Any] = self.objective.step(
                    encoder,
                    batch.to(encoder.device),
                    scale=1.0,
                    backward=_nothing,
                    seed=derive(self.seed, "heldout step", first),
                )
                count = int(result.pop("count"))
                total += count
                for name, value in result.items():
                    sums[name] = sums.get(name, 0.0) + float(value) * (1 if name == "loss_sum" else count)
        encoder.train(training[0])
        self.objective.train(training[1])
        means = {f"heldout_{name}": value / max(1, total) for name, value in sums.items()}
        means = {"heldout_loss": means.pop("heldout_loss_sum"), **means}
        likelihood = self.objective.likelihood
        if likelihood is not None:
            means["heldout_perplexity"] = math.exp(min(means[f"heldout_{likelihood}"], 700.0))
        return means


def _nothing(loss: Tensor) -> None:
    """No backward pass."""
