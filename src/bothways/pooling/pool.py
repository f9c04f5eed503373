"""Parameter-free poolings over packed states.

- mean, and weighted mean (position weights 1..n, Muennighoff 2022, arXiv 2202.08904)
- last token / EOS, BOS (first token, [CLS]) and max, as compared by LLM2Vec (arXiv 2404.05961) and
  SimCSE (arXiv 2104.08821)
- the sum divided by the square root of the number of tokens, as in Universal Sentence Encoder
  (arXiv 1803.11175); sentence-transformers calls it mean_sqrt_len_tokens
- several of these, concatenated in the order of their names
- the mean of the last few tokens, which are special ones in LLaRA's prompts (arXiv 2312.15503)
- the mean of tokens whose states are averaged over the first and the last layer
  (`attention.run.of_layers`), SimCSE's "avg_first_last"

Only tokens whose pool mask is True are pooled. So the text sees instructions (and BOS, if you
choose so), but they are never pooled. Rows are packed, so the padding side does not matter.

Letters: T tokens, N texts, H hidden, P poolings.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from bothways.config import PooledLayers
from bothways.errors import InputError
from bothways.nearest import meant

Mode = Literal["mean", "weighted_mean", "last", "last_tokens", "bos", "max", "mean_sqrt_len"]
LAST_TOKENS = 8  # special tokens of LLaRA's prompts
POOLINGS: tuple[str, ...] = get_args(Mode)
"""Poolings of the last layer's states."""
LAYERED = ("first_last_avg",)
"""Poolings of states averaged over layers."""
# the names that LLM2Vec, sentence-transformers, SimCSE and BERT-whitening use
ALIASES = {
    "eos": "last",
    "eos_token": "last",
    "last_token": "last",
    "lasttoken": "last",
    "weightedmean": "weighted_mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "cls": "bos",
    "bos_token": "bos",
    "avg_first_last": "first_last_avg",
    "first-last-avg": "first_last_avg",
}


JOINED = "+"
"""Between the names of poolings that are concatenated, for example "bos+mean"."""
CONCATENATED = ("bos", "max", "mean", "mean_sqrt_len", "weighted_mean", "last")
"""Poolings that can be concatenated: those that sentence-transformers has."""


def parts_of(mode: str) -> tuple[str, ...]:
    """Return the poolings that a mode concatenates: ("bos", "mean") for "cls+mean".

    A single mode gives itself.

    Raises:
        InputError: a mode is unknown, or cannot be concatenated.
    """
    parts = tuple(ALIASES.get(part.strip(), part.strip()) for part in mode.split(JOINED))
    known = (*POOLINGS, *LAYERED) if len(parts) == 1 else CONCATENATED
    wrong = next((part for part in parts if part not in known), None)
    if wrong is not None:
        where = "" if len(parts) == 1 else f" in {mode!r:.60}"
        raise InputError(
            f"pooling: unknown mode {wrong!r:.60}{where}; {meant(wrong, known)}one of {', '.join(known)}"
        )
    return parts


def pooled_tokens(mask: Tensor, segments: Tensor, rows: int) -> Tensor:
    """Return the pool mask (T,) without filler.

    Raises:
        InputError: a text has no pooled token.
    """
    mask = mask & (segments < rows)
    counts = torch.bincount(segments[mask], minlength=rows)
    if int(counts.min()) == 0:
        raise InputError(f"pooling: text {int(counts.argmin())} of the pass has no token to pool")
    return mask


class Pooling(nn.Module):
    """One vector per text.

    For example, `Pooling("mean")` or `Pooling("last_tokens", tokens=8)`.

    Args:
        mode: "mean", "weighted_mean", "last" (also "eos"), "last_tokens", "bos" (also "cls"),
            "max", "mean_sqrt_len" or "first_last_avg".
        tokens: for "last_tokens", how many states are averaged. A shorter text averages all of its
            states.
        from_start: for "weighted_mean". If True, count positions from a text's first token, pooled
            or not, as sentence-transformers does. If False, count from its first pooled token.

    Raises:
        InputError: the mode is unknown.
    """

    def __init__(
        self, mode: str = "mean", *, tokens: int = LAST_TOKENS, from_start: bool = False
    ) -> None:
        super().__init__()
        self.mode: str = ALIASES.get(mode, mode)
        if self.mode not in (*POOLINGS, *LAYERED):
            raise InputError(
                f"pooling: unknown mode {mode!r}; {meant(mode, (*POOLINGS, *LAYERED))}one of {', '.join((*POOLINGS, *LAYERED))}"
            )
        self.from_start = from_start
        if self.mode == "last_tokens":
            self.tokens = tokens

    @property
    def reads(self) -> PooledLayers:
        """The layers that `forward` needs the states of."""
        return "first_last" if self.mode in LAYERED else "last"

    def forward(self, states: Tensor, mask: Tensor, segments: Tensor, rows: int) -> Tensor:
        """Pool.

        Args:
            states: (T, H) of the layers in `reads`, any float type. Sums are computed in float32.
            mask: (T,) bool, tokens to pool, at least one per text.
            segments: (T,) int64, index of each token's text. Indices ≥ rows are filler and are
                ignored.
            rows: N.

        Returns:
            (N, H) float32.

        Raises:
            InputError: a text has no pooled token.
        """
        mask = pooled_tokens(mask, segments, rows)
        whole = torch.bincount(segments)
        places = (
            torch.arange(len(segments), device=states.device) - (whole.cumsum(0) - whole)[segments]
        )[mask]
        states, segments = states[mask], segments[mask]
        counts = torch.bincount(segments, minlength=rows)
        ends = counts.cumsum(0)
        if self.mode == "last":
            return states[ends - 1].float()
        if self.mode == "last_tokens":
            late = (
                torch.arange(len(segments), device=states.device) >= (ends - self.tokens)[segments]
            )
            states, segments = states[late], segments[late]
        if self.mode == "bos":
            return states[ends - counts].float()
        states = states.float()
        if self.mode == "max":
            low = states.new_full((rows, states.shape[1]), float("-inf"))
            return low.scatter_reduce(0, segments[:, None].expand_as(states), states, "amax")
        if self.mode == "weighted_mean":
            own = torch.arange(len(segments), device=states.device) - (ends - counts)[segments]
            weights = ((places if self.from_start else own) + 1).float()
        else:
            weights = torch.ones(len(segments), device=states.device)
        total = states.new_zeros(rows).index_add(0, segments, weights)
        total = total.sqrt() if self.mode == "mean_sqrt_len" else total
        weights = weights / total[segments]
        return states.new_zeros(rows, states.shape[1]).index_add(
            0, segments, states * weights[:, None]
        )

    def extra_repr(self) -> str:
        """Return the mode, for printing."""
        return f"mode={self.mode!r}" + (
            f", tokens={self.tokens}" if self.mode == "last_tokens" else ""
        )


class Concatenated(nn.Module):
    """Several poolings of the same states, one behind the other in each vector.

    For example, `Concatenated("bos+mean", width=768)` gives vectors of 1,536 numbers.

    Args:
        mode: names of `CONCATENATED`, joined by "+".
        width: H.

    Raises:
        InputError: a mode is unknown, or cannot be concatenated.
    """

    reads: PooledLayers = "last"

    def __init__(self, mode: str, *, width: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Pooling(part) for part in parts_of(mode))
        self.mode = JOINED.join(str(part.mode) for part in self.parts)
        self.dimension = len(self.parts) * width

    def forward(self, states: Tensor, mask: Tensor, segments: Tensor, rows: int) -> Tensor:
        """Compute vectors (N, P · H) float32. Arguments are those of `Pooling`."""
        return torch.cat([part(states, mask, segments, rows) for part in self.parts], dim=1)

    def extra_repr(self) -> str:
        """Return the mode, for printing."""
        return f"mode={self.mode!r}"


def count_from_start(pooling: nn.Module, from_start: bool) -> None:
    """Set `from_start` of a pooling and of all its parts, see `Pooling`."""
    for part in pooling.modules():
        if isinstance(part, Pooling):
            part.from_start = from_start
