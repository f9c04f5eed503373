"""The gradient cache: a contrastive step over many texts in the memory of a few.

The loss needs the vectors of all texts together, but their activations only one pass at a time
(GradCache, Gao et al. 2021, arXiv 2101.06983):
1. Run forward for every pass without activations. Only the vectors remain.
2. Compute the loss, and its gradient with respect to the vectors.
3. Run forward again for every pass with the same dropout, and backward from the cached gradient.

There are two changes to the paper. First, dropout is replayed by seeding and not by saving
generator states, so the randomness of pass i is a function of (seed, i). Second, the first passes,
as many as fit `graph_tokens`, keep their activations from step 1 and are not computed again. If all
fit, this is exactly the plain step.

If the passes themselves exchange data between processes (a model that is split over them), all
processes run equally many. Those with fewer texts add small passes with a gradient of zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from bothways.encoder.batch import TokenBatch
from bothways.errors import BothwaysError
from bothways.losses.gather import largest
from bothways.objectives.objective import Backward, PassBackward
from bothways.objectives.seeding import pass_seed, seeded

Returned = TypeVar("Returned")
"""What a loss returns next to its value."""

REPLAY_TOLERANCE = 0.3
"""Largest relative distance between the vectors of a pass and their replay.

Kernels may round differently with and without activations: up to 0.02 was measured on SmolLM2-135M
in bfloat16. Other dropout masks move the vectors by 0.6 (attention dropout 0.1 and 0.3, hidden
dropout 0.1)."""


def cached_step(
    encode: Callable[[TokenBatch], Tensor],
    passes: Sequence[TokenBatch],
    loss: Callable[[Tensor], tuple[Tensor, Returned]],
    *,
    graph_tokens: int,
    seed: int,
    backward: Backward,
) -> Returned:
    """Run forward and backward of a loss over the vectors of several passes.

    Under `torch.no_grad` it runs forward only.

    Args:
        encode: (n, D) vectors of a pass, with gradient. It includes parameters outside the encoder
            (a train-only layer).
        passes: all on one device.
        loss: from the vectors (N, D) of all passes in order, float32 or wider, to (scalar, anything
            else). Called once, so it may communicate between processes, even if their numbers of
            passes differ.
        graph_tokens: tokens whose activations may exist together, in addition to those of one pass.
        seed: of dropout.
        backward: receives scalars whose gradients add up to that of the loss. A `PassBackward` is
            told which of them is the last.

    Returns:
        The second value of `loss`.

    Raises:
        BothwaysError: a second forward gave other vectors than the first, so something random
            ignores torch's generators.
    """
    if not torch.is_grad_enabled():
        outputs = _forward(encode, passes, 0, seed)
        return loss(torch.cat([output.to(_wide(output)) for output in outputs]))[1]
    several = backward if isinstance(backward, PassBackward) else None
    count, kept = len(passes), _fitting(passes, graph_tokens)
    added: list[TokenBatch] = []
    if several is not None and several.together:
        count, least = largest([count, -kept], passes[0].input_ids.device)
        kept = -least
        added = [_small(passes[-1])] * (count - len(passes))
    outputs = _forward(encode, [*passes, *added], kept, seed)[: len(passes)]
    leaf = torch.cat([output.detach().to(_wide(output)) for output in outputs]).requires_grad_()
    scalar, extra = loss(leaf)
    (gradient,) = torch.autograd.grad(scalar, leaf)
    # Older torch caches the casts of weights made without a graph, and the passes below would leave
    # those weights without gradient (pytorch #112583).
    torch.clear_autocast_cache()
    vectors = leaf.detach()
    start = 0
    for index, batch in enumerate([*passes, *added]):
        rows = slice(start, start + batch.rows)
        own = index < len(passes)
        start += batch.rows if own else 0
        if index < kept:
            output = outputs[index]
            outputs[index] = output.detach()  # the list must not keep the graph alive
        else:
            with seeded(pass_seed(seed, index), batch.input_ids.device):
                output = encode(batch)
            if own:
                _check_replay(output, vectors[rows])
        share = (output.to(gradient.dtype) * (gradient[rows] if own else 0)).sum()
        del output
        if several is not None and index < count - 1:
            several.more(share)
        else:
            backward(share)
        del share
    return extra


def _fitting(passes: Sequence[TokenBatch], graph_tokens: int) -> int:
    """Return how many of the first passes may keep their activations."""
    kept = used = 0
    for batch in passes:
        used += batch.plan.total
        if used > graph_tokens:
            break
        kept += 1
    return kept


def _small(batch: TokenBatch) -> TokenBatch:
    """Return a pass of the batch's first text alone."""
    size = batch.plan.lengths[0]
    plan = replace(batch.plan, lengths=(size,), blocks=batch.plan.blocks[:1])
    return TokenBatch(batch.input_ids[:size], plan, batch.pool[:size], 1)


def _forward(
    encode: Callable[[TokenBatch], Tensor], passes: Sequence[TokenBatch], kept: int, seed: int
) -> list[Tensor]:
    """Compute the vectors of every pass. The first `kept` passes keep their graph."""
    outputs: list[Tensor] = []
    for index, batch in enumerate(passes):
        with (
            seeded(pass_seed(seed, index), batch.input_ids.device),
            torch.set_grad_enabled(index < kept),
        ):
            outputs.append(encode(batch))
    return outputs


def _wide(vectors: Tensor) -> torch.dtype:
    return torch.promote_types(vectors.dtype, torch.float32)


def _check_replay(output: Tensor, expected: Tensor) -> None:
    distance = (output.detach().to(expected.dtype) - expected).norm() / expected.norm().clamp_min(
        1e-12
    )
    if not distance <= REPLAY_TOLERANCE:
        raise BothwaysError(
            f"gradient cache: a second forward pass with the same seed differs by {float(distance):.3f} of its size; something "
            "in the model draws random numbers without torch's seed; raise graph_tokens until no pass is computed twice"
        )
