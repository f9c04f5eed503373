"""Chooses tokens to mask and their replacements.

It follows the rule of BERT's masked language modeling (arXiv 1810.04805, §3.1) as in transformers'
DataCollatorForLanguageModeling, and the all-mask variant of LLM2Vec's released code. Both draw in
the same order from the same generator, so one seed gives the same masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from bothways.encoder.texts.embedding_rows import check_embedded
from bothways.errors import InputError

MaskStyle = Literal["bert", "all_mask"]
MaskToken = Literal["blank", "eos", "mask"]

MASK = "<mask>"
"""The mask token that LLM2Vec adds to a tokenizer without one (mask_token_type "mask")."""

BERT_MASKED = 0.8
"""Share of chosen tokens that become the mask token (BERT)."""
BERT_RANDOM = 0.1
"""Share of chosen tokens that become a random token. The rest stays (BERT)."""


class Masked(NamedTuple):
    """Corrupted token ids (T,) and a mask of the labels (T,) bool."""

    ids: Tensor
    chosen: Tensor


@dataclass(frozen=True)
class Masking:
    """How tokens are chosen and hidden.

    Attributes:
        mask_id: id of the mask token.
        vocabulary: random tokens are drawn from the ids below this number.
        probability: probability that an allowed token is chosen, independently. The default is
            LLM2Vec's (arXiv 2404.05961) for the Llama family.
        style: if "bert", a chosen token becomes `mask_id` (80 %), a token drawn uniformly from the
            vocabulary (10 %), or stays (10 %). If "all_mask", it always becomes `mask_id`.
    """

    mask_id: int
    vocabulary: int
    probability: float = 0.2
    style: MaskStyle = "bert"


def mask_tokens(
    ids: Tensor, allowed: Tensor, masking: Masking, generator: torch.Generator
) -> Masked:
    """Choose labels and corrupt them.

    Args:
        ids: (T,) int64. It is not changed.
        allowed: (T,) bool, tokens that may be chosen.
        masking: how they are chosen and hidden.
        generator: CPU generator.
    """
    chosen = torch.where(allowed, masking.probability, 0.0)
    chosen = torch.bernoulli(chosen, generator=generator).bool()
    share = BERT_MASKED if masking.style == "bert" else 1.0
    replaced = torch.bernoulli(torch.full(ids.shape, share), generator=generator).bool() & chosen
    corrupted = ids.masked_fill(replaced, masking.mask_id)
    if masking.style == "bert":
        among_rest = torch.full(ids.shape, BERT_RANDOM / (1 - BERT_MASKED))
        random = torch.bernoulli(among_rest, generator=generator).bool() & chosen & ~replaced
        words = torch.randint(masking.vocabulary, ids.shape, generator=generator)
        corrupted = torch.where(random, words, corrupted)
    return Masked(corrupted, chosen)


def mask_token_id(tokenizer: Any, kind: MaskToken, rows: int | None = None) -> int:
    """Find the id of the mask token.

    Args:
        tokenizer: a transformers tokenizer.
        kind: "blank" is the token "_", LLM2Vec's choice for decoders, which have no mask token.
            "eos" is the tokenizer's EOS. "mask" is the tokenizer's own mask token, or MASK if it
            has been added.
        rows: rows of the model's embedding, see `embedding_rows`.

    Raises:
        InputError: the tokenizer has no such token, or the model has no embedding for it.
    """
    if kind == "blank":
        found = tokenizer.convert_tokens_to_ids("_")
        missing = found is None or found == tokenizer.unk_token_id
        advice = "the vocabulary has no token '_'; use 'eos'"
    elif kind == "eos":
        found = tokenizer.eos_token_id
        missing, advice = found is None, "the tokenizer has no end-of-sequence token; use 'blank'"
    else:
        found = tokenizer.mask_token_id
        found = tokenizer.get_vocab().get(MASK) if found is None else found
        missing = found is None
        advice = f"the tokenizer has no mask token; use 'blank' or 'eos', or add one with new_tokens: ['{MASK}']"
    if missing:
        raise InputError(f"mask_token: {kind!r} cannot be used: {advice}")
    check_embedded(tokenizer, [int(found)], rows, f"mask_token: {kind!r}")
    return int(found)
