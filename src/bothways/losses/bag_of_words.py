"""Bag-of-words loss: predicts the set of words in a text, or in the next one, from a few states.

LLaRA (Llama2Vec), arXiv 2312.15503, as its released code computes it (FlagEmbedding,
research/LLARA). For each word the largest of the logits at a text's P special positions counts, and
the words of the bag share the loss:

    ℓ_n = - 1/|B_n| Σ_{v ∈ B_n} log softmax_v( max_p head(h_np)_v )

With P = 1 it is the formula of the paper, one end token per embedding. The head is applied only at
the special positions, a few texts at a time. Logits are computed again in the backward pass instead
of being kept (N · P · V numbers: 100 MB for 32 texts of SmolLM2, 1 GB for 64 of Llama 3).

Letters: N bags, P positions of each, K words of all bags, H hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def bag_of_words(
    states: Tensor, words: Tensor, sizes: Sequence[int], head: nn.Module, *, chunk: int = 8
) -> Tensor:
    """Compute the mean negative log-probability of each bag's words.

    Args:
        states: (N, P, H) at the special positions. P is at least 1.
        words: (K,) int64 token ids, bag after bag, each once per bag.
        sizes: number of words in each bag. There are N, with sum K. An empty bag has 0.
        head: maps (m, H) states to (m, V) logits. Its parameters that require a gradient get one.
        chunk: number of bags with logits in memory at the same time. Memory is about 8 · chunk · P
            · V bytes. It changes the result only by rounding.

    Returns:
        (N,) losses in nats, float32 (float64 stays), with gradient. An empty bag has 0.

    Raises:
        ValueError: if the sizes do not fit states and words.
    """
    if len(sizes) != states.shape[0] or sum(sizes) != words.shape[0]:
        raise ValueError(
            f"{states.shape[0]} bags of {words.shape[0]} words, but sizes {list(sizes)}"
        )
    losses = []
    first = 0
    for start in range(0, len(sizes), chunk):
        counts = sizes[start : start + chunk]
        own = words[first : first + sum(counts)]
        first += sum(counts)
        part = states[start : start + chunk]
        if torch.is_grad_enabled():
            # Heads do not have dropout, so there is no random state to preserve.
            losses.append(
                checkpoint(
                    _losses, head, part, own, counts, use_reentrant=False, preserve_rng_state=False
                )
            )
        else:
            losses.append(_losses(head, part, own, counts))
    return torch.cat(losses) if losses else states.new_zeros(0)


def _losses(head: nn.Module, states: Tensor, words: Tensor, counts: Sequence[int]) -> Tensor:
    logits: Tensor = head(states.flatten(0, 1)).unflatten(0, states.shape[:2]).amax(1)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    sizes = torch.tensor(list(counts), device=states.device)
    bag = torch.repeat_interleave(torch.arange(len(counts), device=states.device), sizes)
    surprise = logits.logsumexp(-1)[bag] - logits[bag, words]
    return logits.new_zeros(len(counts)).index_add(0, bag, surprise) / sizes.clamp(min=1)
