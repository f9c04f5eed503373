"""The objective's own loss on data that is not trained on.

LLM2Vec's MNTP script reports it every `eval_steps`. It never chooses a checkpoint, unlike the dev
metric: a lower MNTP loss is not a better encoder. It only shows if the objective is still being
learned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bothways.encoder.encoder import Encoder
from bothways.losses.gather import alone
from bothways.objectives.objective import Objective
from bothways.objectives.step_output import StepTotals
from bothways.training.loop.randomness import derive, generator


class HeldOut:
    """Fixed batches of held-out examples.

    Masks are drawn from the same seeds each time, so readings differ by the model alone.

    Args:
        objective: the one that is trained. Its loss must need no dropout (MNTP, labeled rows).
        texts: held-out data, of the kind that the objective wants.
        size: examples per batch.
        limit: maximum number of examples. If None, all.
        seed: of the masks.
    """

    def __init__(
        self,
        objective: Objective[Any],
        encoder: Encoder,
        texts: Sequence[Any],
        *,
        size: int,
        limit: int | None,
        seed: int,
    ) -> None:
        self.objective, self.seed = objective, seed
        self.examples = objective.prepare(texts, encoder)[:limit]
        self.size = size

    def read(self, encoder: Encoder) -> dict[str, float]:
        """Compute the loss in evaluation mode.

        Returns:
            `heldout_loss`, the objective's own metrics with the prefix `heldout_`, and
                `heldout_perplexity` if one of them is a likelihood.
        """
        training = encoder.training, self.objective.training
        encoder.eval()
        self.objective.eval()
        totals = StepTotals()
        with torch.no_grad(), alone():
            for first in range(0, len(self.examples), self.size):
                batch = self.objective.collate(
                    self.examples[first : first + self.size], generator(self.seed, "heldout", first)
                )
                output = self.objective.step(
                    encoder,
                    batch.to(encoder.device),
                    scale=1.0,
                    backward=_no_backward,
                    seed=derive(self.seed, "heldout step", first),
                )
                totals.add(output)
        encoder.train(training[0])
        self.objective.train(training[1])
        count = max(1, totals.count)
        means = {"heldout_loss": totals.loss_sum / count}
        means |= {f"heldout_{name}": value / count for name, value in totals.metrics.items()}
        likelihood = self.objective.likelihood
        if likelihood is not None:
            means["heldout_perplexity"] = math.exp(min(means[f"heldout_{likelihood}"], 700.0))
        return means


def _no_backward(loss: Tensor) -> None:
    """Skip the backward pass."""
