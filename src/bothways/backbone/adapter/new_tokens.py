"""New special tokens: adds them to tokenizer and embeddings, and trains their rows with an adapter.

LLaRA reads its embeddings at tokens that no model has (arXiv 2312.15503: `<s1>` to `<s16>`). If
every weight trains, their rows train with the rest. Next to a frozen model only these rows may
train. Marking the whole embedding as trainable would cost its gradient and its optimizer state
(SmolLM2: 28M numbers instead of 16 · 576), and weight decay would change words that never occur. So
the embedding is wrapped. The frozen table looks up all tokens, and a second table of a few rows
replaces the vectors of the new ones. It has the same class and hence the same scaling. `fold_rows`
writes the rows back and is part of every merge.

Letters: T tokens, R new rows, H hidden, V rows of the embedding.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import AddedToken
from torch import Tensor, nn

from bothways.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def add_tokens(
    model: Any, tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str], *, seed: int = 0
) -> list[int]:
    """Add special tokens to `tokenizer` and rows for them to the embeddings of `model`, in place.

    Tokens that already exist keep their rows. New rows are drawn from the distribution of the
    embedding: every number is normal with the mean and deviation of its column. So the rows differ
    from each other and lie among the others.

    Args:
        model: a bare transformers backbone.
        tokenizer: its fast tokenizer.
        tokens: the new tokens as text, each once, for example ["<s1>", "<s2>"].
        seed: seed of the rows.

    Returns:
        The ids of `tokens`, in their order.

    Raises:
        InputError: if a token is empty or appears twice.
    """
    if not all(tokens) or len(set(tokens)) < len(tokens):
        raise InputError(
            f"new_tokens: {list(tokens)}; expected texts that are not empty, each once"
        )
    known = tokenizer.get_vocab()
    fresh = [token for token in tokens if token not in known]
    tokenizer.add_tokens(
        [AddedToken(token, special=True, normalized=False) for token in fresh], special_tokens=True
    )
    rows = model.get_input_embeddings().weight.shape[0]
    number = tokenizer.get_vocab()
    ids = [number[token] for token in fresh]
    if fresh:
        own = model.get_input_embeddings().weight.detach()
        drawn = _drawn(own, len(fresh), seed)
        if max(ids) >= rows:
            model.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
        with torch.no_grad():
            weight = model.get_input_embeddings().weight
            weight[torch.tensor(ids, device=weight.device)] = drawn.to(weight)
    return [number[token] for token in tokens]


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the ids of every special token, with a role (BOS, EOS, …) or without."""
    added = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | set(tokenizer.all_special_ids)


def _drawn(weight: Tensor, count: int, seed: int) -> Tensor:
    """Draw new rows (R, H), float32 on the CPU, from each column's mean and deviation."""
    noise = torch.randn(count, weight.shape[1], generator=torch.Generator().manual_seed(seed))
    means, deviations = [], []
    for columns in weight.split(256, dim=1):  # a float32 copy of the whole table may take gigabytes
        deviation, mean = torch.std_mean(columns.float(), dim=0)
        means.append(mean.cpu())
        deviations.append(deviation.cpu())
    return torch.cat(means) + torch.cat(deviations) * noise


class NewRows(nn.Module):
    """An embedding of which only a few rows train.

    The parameter's name contains ".lora_", so it belongs to the adapter: it is saved and loaded
    with it, and must be merged before the model is written.

    Args:
        base: the embedding, which is not changed.
        ids: (R,) tokens of the rows to train, in float32.
    """

    ids: Tensor

    def __init__(self, base: Any, ids: Sequence[int]) -> None:
        super().__init__()
        index = torch.tensor(list(ids), device=base.weight.device)
        own = nn.Parameter(base.weight.detach()[index].float())
        self.base = base
        # the copy gets these rows instead of a copy of the table
        memo: dict[int, Any] = {id(base.weight): own}
        self.lora_rows: Any = copy.deepcopy(base, memo)
        self.lora_rows.num_embeddings, self.lora_rows.padding_idx = len(index), None
        self.register_buffer("ids", index, persistent=False)

    @property
    def weight(self) -> Tensor:
        """Return the frozen table (V, H), in which the rows in training keep their old values."""
        weight: Tensor = self.base.weight
        return weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Look up tokens: (…,) int64 to (…, H) in the table's dtype."""
        found = torch.eq(tokens[..., None], self.ids)
        # Positions of other tokens look up row 0, which is then dropped.
        own = self.lora_rows(found.int().argmax(-1))
        states = self.base(tokens)
        return torch.where(found.any(-1, keepdim=True), own.to(states.dtype), states)


def train_rows(model: Any, ids: Sequence[int]) -> None:
    """Train the embedding rows of these tokens next to an adapter, in place.

    If the whole embedding already trains, nothing changes.
    """
    embedding = model.get_input_embeddings()
    if ids and not embedding.weight.requires_grad:
        model.set_input_embeddings(NewRows(embedding, ids))


def fold_rows(model: Any) -> None:
    """Write trained rows into the embedding and remove the wrapper, in place.

    If the embedding is not wrapped, nothing changes.
    """
    embedding = model.get_input_embeddings()
    if not isinstance(embedding, NewRows):
        return
    base: Any = embedding.base
    with torch.no_grad():
        base.weight[embedding.ids] = embedding.lora_rows.weight.to(base.weight)
    model.set_input_embeddings(base)
