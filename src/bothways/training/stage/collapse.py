"""The collapse alarm: notices during training that all texts are getting the same vector.

A collapse does not show in the loss. Bag-of-words training alone ends with all cosines near 1
(reported for LLaRA), and a contrastive loss may be low on a batch of near-duplicates. So a fixed
sample of training texts is encoded in evaluation mode, and two numbers are read: the mean cosine of
all pairs, and the effective rank (Roy & Vetterli 2007).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

import torch

from bothways.encoder.encoder import Encoder
from bothways.encoder.finite import NotFinite
from bothways.errors import BothwaysError
from bothways.evaluation.measures.geometry import collapse_watch
from bothways.training.loop.randomness import generator

log = logging.getLogger("bothways")

SAMPLE = 64
CHARACTERS = 2000
"""Characters of each text that are read. Some hundred tokens show a collapse, and a whole book
would cost as much as many steps."""
EARLY_STEPS = frozenset({0, 10, 25, 50})
"""Optimizer steps after which the sample is read even if no evaluation is due. Most collapses come
early."""
MAX_COSINE = 0.98
SHRUNK = 0.5
"""An untrained decoder may exceed MAX_COSINE already. Then only half of the remaining distance to 1
counts as a collapse."""
RANK_LEFT = 0.25
"""Share of the first effective rank. Below it, directions have been lost."""


class Collapse(BothwaysError):
    """Training stopped because the vectors collapsed (`on_collapse: stop`)."""


class CollapseWatch:
    """Reads the sample, and warns once.

    Args:
        texts: training texts.
        seed: seed of the sample.
        stage: name of the stage, for messages.
        action: "warn" logs a warning, "stop" raises.
        remedy: advice in the message (`ObjectiveConfig.collapse_remedy`).
    """

    def __init__(
        self,
        texts: Sequence[str],
        *,
        seed: int,
        stage: str,
        action: Literal["warn", "stop"],
        remedy: str = "lower optim.lr",
    ) -> None:
        distinct = list(dict.fromkeys(text[:CHARACTERS] for text in texts))
        order = torch.randperm(len(distinct), generator=generator(seed, "watch", stage)).tolist()
        self.sample = [distinct[index] for index in order[:SAMPLE]]
        self.stage, self.action, self.remedy = stage, action, remedy
        self.warned = False

    def read(self, encoder: Encoder) -> dict[str, float]:
        """Compute `mean_cosine` and `effective_rank` of the sample.

        The result is empty if there are fewer than two different texts.
        """
        if len(self.sample) < 2:
            return {}
        try:
            return collapse_watch(encoder.encode(self.sample, show_progress_bar=False))
        except NotFinite as error:
            raise NotFinite(
                f"stage {self.stage}: the sample of the collapse watch cannot be encoded; {self.remedy} ({error})"
            ) from error

    def judge(self, now: dict[str, float], start: dict[str, float] | None, step: int) -> str | None:
        """Describe the problem of a reading, compared with the first, or return None.

        Raises:
            Collapse: if there is one, and the action is "stop".
        """
        message = describe_collapse(now, start)
        if message is None:
            return None
        line = f"collapse in stage {self.stage} at step {step}: {message}. Vectors no longer tell texts apart; {self.remedy}"
        if self.action == "stop":
            raise Collapse(line)
        if not self.warned:
            log.warning("%s", line)
            self.warned = True
        return message


def describe_collapse(now: dict[str, float], start: dict[str, float] | None) -> str | None:
    """Describe the collapse between two readings, or return None.

    There is one if the mean cosine exceeds MAX_COSINE and the distance to 1 has at least halved
    since the start, or if the effective rank has fallen below a quarter of the first.
    """
    if not now or not start:
        return None
    cosine, rank = now["mean_cosine"], now["effective_rank"]
    if cosine > MAX_COSINE and 1 - cosine < SHRUNK * (1 - start["mean_cosine"]):
        return f"the mean cosine of unrelated texts is {cosine:.3f} (it began at {start['mean_cosine']:.3f})"
    if rank < RANK_LEFT * start["effective_rank"]:
        return (
            f"the vectors use {rank:.1f} directions (they began with {start['effective_rank']:.1f})"
        )
    return None
