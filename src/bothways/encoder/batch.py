"""Token rows, one per text (`TokenRow`), and several of them packed for one pass (`TokenBatch`).

Letters: T tokens of the pass, N texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from bothways.attention.plan import AttentionPlan
from bothways.attention.shifted import ShiftedGroups
from bothways.config import Direction


class TokenRow(NamedTuple):
    """One tokenized text.

    Args:
        ids: token ids.
        pool: for each token, whether it is pooled.
        offsets: for each token, its characters (start, end) in the text itself. Tokens of the
            prompt and of wrappers, and special tokens, have (0, 0).
        blocks: sizes in tokens of the blocks at the row's end that must not see each other
            (`AttentionPlan.blocks`). Their tokens are included in the three lists.
    """

    ids: list[int]
    pool: list[bool]
    offsets: list[tuple[int, int]]
    blocks: tuple[int, ...] = ()


def row_id(row: TokenRow) -> int:
    """Compute a number in [0, 2^63) from the tokens of a row and its pool mask.

    Equal inputs give equal numbers on every process. Two long texts with the same beginning get the
    same number if they are cut to it.
    """
    read = ",".join(map(str, row.ids)) + "".join("01"[kept] for kept in row.pool)
    return int.from_bytes(hashlib.blake2b(read.encode(), digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True)
class TokenBatch:
    """Texts packed one after the other.

    Args:
        input_ids: (T,) int64.
        plan: lengths of the segments. `plan.total` is T.
        pool: (T,) bool, True for tokens that are pooled.
        rows: N, the number of real texts. Later segments are filler that extends T to a constant.
    """

    input_ids: Tensor
    plan: AttentionPlan
    pool: Tensor
    rows: int

    @property
    def tokens(self) -> int:
        """Number of tokens of the real texts, without filler."""
        return sum(self.plan.lengths[: self.rows])

    def to(self, device: torch.device | str) -> TokenBatch:
        """Return the same batch on another device."""
        return replace(self, input_ids=self.input_ids.to(device), pool=self.pool.to(device))


def pack(
    rows: Sequence[TokenRow],
    *,
    direction: Direction = "bidirectional",
    fill_to: int | None = None,
    pad_id: int = 0,
    shifted: ShiftedGroups | None = None,
) -> TokenBatch:
    """Pack rows in the given order. Blocks of rows become blocks of the plan.

    Args:
        rows: tokenized texts, at least one.
        direction: of the attention plan.
        fill_to: add one filler segment so that the pass has this many tokens. oneDNN compiles a
            kernel per shape, so passes with one constant token count run faster than ragged ones. A
            pass that is already longer is not changed.
        pad_id: token of the filler.
        shifted: train every row in groups by its own length (LongLoRA).

    Raises:
        InputError: blocks do not fit their row, or blocks and groups are used together.
    """
    lengths = [len(row.ids) for row in rows]
    ids = [token for row in rows for token in row.ids]
    pool = [kept for row in rows for kept in row.pool]
    blocks = [row.blocks for row in rows]
    missing = 0 if fill_to is None else fill_to - len(ids)
    if missing > 0:
        lengths.append(missing)
        blocks.append(())
        ids.extend([pad_id] * missing)
        pool.extend([False] * missing)
    plan = AttentionPlan(tuple(lengths), direction, shifted, tuple(blocks) if any(blocks) else ())
    return TokenBatch(torch.tensor(ids), plan, torch.tensor(pool), len(rows))


def passes(
    lengths: Sequence[int], batch_tokens: int, max_rows: int | None = None, *, padded: bool = False
) -> list[list[int]]:
    """Cut texts into passes of at most `batch_tokens` tokens, longest texts first.

    A pass therefore holds texts of nearly the same length. A text longer than `batch_tokens` gets a
    pass of its own.

    Args:
        lengths: tokens of each text.
        batch_tokens: tokens per pass.
        max_rows: maximum number of texts per pass. If None, there is no maximum.
        padded: count padding too, for models that get each pass as a padded batch.

    Returns:
        Lists of indices. Together they contain every index once.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    groups: list[list[int]] = []
    used = 0
    for index in order:
        # the first text of a pass is its longest
        cost = lengths[groups[-1][0]] if padded and groups else lengths[index]
        if (
            not groups
            or used + cost > batch_tokens
            or (max_rows is not None and len(groups[-1]) >= max_rows)
        ):
            groups.append([])
            used, cost = 0, lengths[index]
        groups[-1].append(index)
        used += cost
    return groups
