"""Masked next-token loss: applies the language-model head only at masked positions, in chunks.

The loss of LLM2Vec's MNTP (arXiv 2404.05961, §2.2), for states h already taken one place before
their label x:

    L = - Σ_m w_m log softmax(head(h_m))[x_m]          all w_m = 1 in MNTP

Every next-token loss has this form. Causal language modeling uses every token as a label
(LongLoRA). LLaRA uses the tokens of the text, and each text has the same weight.

Logits of all masked positions would be the largest tensor of the step (4,000 × 128,256 × 4 bytes =
2 GB). So each chunk's logits are turned into their gradients at once and dropped. No logits live
until the backward pass, and none are computed twice. This holds for any head (scaling,
soft-capping, bias), frozen or trained.

Letters: M masked positions, H hidden, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bothways.losses.loss_sum import LossSum


def masked_next_token(
    states: Tensor,
    targets: Tensor,
    head: nn.Module,
    *,
    weights: Tensor | None = None,
    chunk: int = 512,
) -> LossSum:
    """Sum the cross-entropy of the head's prediction at every state.

    Args:
        states: (M, H), the state that predicts each label. M may be 0.
        targets: (M,) int64, token ids.
        head: maps (m, H) states to (m, V) logits. Only its parameters that require a gradient get
            one.
        weights: (M,) weight of each label in the sum, without gradient. If None, each is 1.
        chunk: number of positions with logits in memory at the same time. Memory is about 12 ·
            chunk · V bytes. It changes the result only by rounding.

    Returns:
        The sum over M in float32 (float64 stays), the count M, and the number of positions with the
            label as the most probable token.
    """
    trained = [parameter for parameter in head.parameters() if parameter.requires_grad]
    gradient = torch.is_grad_enabled() and (states.requires_grad or bool(trained))
    total, correct = _Chunked.apply(head, targets, weights, chunk, gradient, states, *trained)
    return LossSum(total, targets.shape[0], correct)


class _Chunked(torch.autograd.Function):
    """Computes the gradients of the sum together with the sum. Backward only scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        head: nn.Module,
        targets: Tensor,
        weights: Tensor | None,
        chunk: int,
        gradient: bool,
        states: Tensor,
        *trained: Tensor,
    ) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(states.dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=states.device)
        correct = torch.zeros((), dtype=torch.int64, device=states.device)
        to_states = torch.zeros_like(states) if gradient else None
        to_trained = [torch.zeros_like(parameter) for parameter in trained] if gradient else []
        for start in range(0, targets.shape[0], chunk):
            rows = slice(start, start + chunk)
            with torch.set_grad_enabled(gradient):
                piece = states[rows].detach().requires_grad_(gradient)
                own = None if weights is None else weights[rows].to(wide)
                loss, hits = _cross_entropy(head, piece, targets[rows], own, wide)
            if to_states is not None:
                first, *others = torch.autograd.grad(loss, [piece, *trained], allow_unused=True)
                to_states[rows] = first
                for held, new in zip(to_trained, others):
                    if new is not None:
                        held += new
            total += loss.detach()
            correct += hits
        ctx.gradients = (to_states, to_trained)
        ctx.mark_non_differentiable(correct)
        return total, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        to_states, to_trained = ctx.gradients
        scaled = [held * outer[0].to(held.dtype) for held in (to_states, *to_trained)]
        return None, None, None, None, None, *scaled


def _cross_entropy(
    head: nn.Module, states: Tensor, targets: Tensor, weights: Tensor | None, wide: torch.dtype
) -> tuple[Tensor, Tensor]:
    logits = head(states).to(wide)
    hits = (logits.detach().argmax(-1) == targets).sum()
    if weights is None:
        return F.cross_entropy(logits, targets, reduction="sum"), hits
    return F.cross_entropy(logits, targets, reduction="none") @ weights, hits
