"""One training step of MNTP and of SimCSE, as bothways computes it and as llm2vec's code does.

`benchmarks/training.py` times the two in turns. Both sides have the same weights, LoRA adapters, texts, masks, dropout rates,
type and optimizer. The second side is a plain loop of what llm2vec 0.2.3 and its experiments/run_{mntp,simcse}.py compute:

- MNTP: texts joined to full rows (`group_texts`), a batch (B, L) through transformers' SDPA attention, logits (B, L, V) of every
  token in float32, and the cross-entropy of transformers, which skips the positions without a label.
- SimCSE: each view is a padded batch of its own, in the order of the data, with dropout 0.3 in attention, mean pooling, and the
  cross-entropy of 20 times the cosines.

Letters: B rows, L tokens of a row, N texts, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bothways as bw
from bothways.attention.stock import set_implementation
from bothways.backbone.adapter.lora import attach, lora_layers
from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.backbone.loading.sources import load_pretrained
from bothways.data.text.readers import read_texts
from bothways.objectives.contrastive import Contrastive, ContrastiveConfig
from bothways.objectives.mntp import Mntp, MntpBatch, MntpConfig

SIDES = ("bothways", "llm2vec's computation")
STAGES = ("mntp", "simcse")


@dataclass(frozen=True)
class Setting:
    """What is trained. `length` is the tokens of a row (MNTP) or at most of a text (SimCSE)."""

    stage: str
    side: str
    model: str
    texts: str
    batch: int
    length: int
    dropout: float = 0.3
    adapter_dropout: float = 0.05
    checkpointing: bool = False


class Step:
    """A side with its model and data. Step n trains on the same examples on both sides."""

    def __init__(self, setting: Setting, most: int = 4096) -> None:
        self.setting = setting
        self.encoder = bw.convert(setting.model, dtype="float32", device="cpu", max_length=setting.length)
        head = None
        if setting.stage == "mntp":
            head = load_pretrained(setting.model, dtype="float32", device="cpu", head=True).head
            assert head is not None
            head.tie(self.encoder.backbone)
        attach(self.encoder.backbone, LoraConfig(r=16, dropout=setting.adapter_dropout))
        config = (
            MntpConfig(row_length=setting.length)
            if setting.stage == "mntp"
            else ContrastiveConfig(max_length=setting.length, attention_dropout=setting.dropout)
        )
        self.objective: Any = config.build(self.encoder, head)
        self.examples = self.objective.prepare(read_texts(setting.texts, limit=most), self.encoder)
        self.encoder.train()
        if setting.checkpointing:
            self.encoder.backbone.gradient_checkpointing_enable()
        self.trained = [each for each in self.encoder.parameters() if each.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-4)
        self.compute: Callable[[Any, int], float] = self._ours
        if setting.side != SIDES[0]:
            set_implementation(self.encoder.backbone, "sdpa")
            for _, layer in lora_layers(self.encoder.backbone):
                layer.lora_dropout = nn.ModuleDict({key: nn.Dropout(setting.adapter_dropout) for key in layer.lora_dropout})
            self.compute = self._plain_mntp if setting.stage == "mntp" else self._plain_simcse

    def batch(self, number: int) -> Any:
        """The examples of step `number`. They start again when the data ends."""
        size, total = self.setting.batch, len(self.examples)
        chosen = [self.examples[(number * size + place) % total] for place in range(size)]
        return self.objective.collate(chosen, torch.Generator().manual_seed(number)), chosen

    def __call__(self, number: int) -> tuple[float, float]:
        """Take step `number`. Returns its seconds and its loss."""
        given = self.batch(number)
        start = time.perf_counter()
        loss = self.compute(given, number)
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - start, loss

    def gradients(self, number: int) -> tuple[float, list[Tensor]]:
        """Return the loss and the gradients of step `number`, and change nothing."""
        self.optimizer.zero_grad()
        loss = self.compute(self.batch(number), number)
        return loss, [each.grad.clone() for each in self.trained if each.grad is not None]

    def _ours(self, given: Any, number: int) -> float:
        batch, _ = given
        scale = 1 / self.objective.count(batch)
        out = self.objective.step(self.encoder, batch, scale=scale, backward=lambda loss: loss.backward(), seed=number)
        return float(out.loss_sum) * scale

    def _plain_mntp(self, given: Any, number: int) -> float:
        batch: MntpBatch = given[0]
        assert isinstance(self.objective, Mntp)
        lengths = batch.tokens.plan.lengths
        labels = torch.full_like(batch.tokens.input_ids, -100)
        labels[batch.places] = batch.targets  # already one place before the label
        ids, mask = padded(batch.tokens.input_ids.split(lengths)), padded([torch.ones(n, dtype=torch.long) for n in lengths])
        wanted = padded(labels.split(lengths), -100)
        torch.manual_seed(number)
        states = self.states(ids, mask)
        logits = self.objective.head(states.flatten(0, 1)).float()
        loss = F.cross_entropy(logits, wanted.flatten(), ignore_index=-100)
        loss.backward()
        return float(loss.detach())

    def _plain_simcse(self, given: Any, number: int) -> float:
        assert isinstance(self.objective, Contrastive)
        rows = given[1]
        ids, mask = padded([torch.tensor(row.ids) for row in rows]), padded([torch.tensor(row.pool).long() for row in rows])
        seen = padded([torch.ones(len(row.ids), dtype=torch.long) for row in rows])
        torch.manual_seed(number)
        first, second = (F.normalize(mean(self.states(ids, seen), mask), dim=-1) for _ in range(2))
        loss = F.cross_entropy(20.0 * first @ second.T, torch.arange(len(rows)))
        loss.backward()
        return float(loss.detach())

    def states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """States (B, L, H) of a padded batch, by transformers' own attention."""
        found: Tensor = self.encoder.backbone(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        return found


def padded(rows: Any, value: int = 0) -> Tensor:
    """Rows as one batch (B, L), padded at the right."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)


def mean(states: Tensor, mask: Tensor) -> Tensor:
    """The mean (B, H) of the states (B, L, H) of pooled tokens."""
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
