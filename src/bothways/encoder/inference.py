"""Encodes many texts: windows, length-sorted packed passes, memory back-off, original order.

Speed on CPUs comes from two facts. Passes are sorted by length and cut by token count, so that no
token is padding and every pass costs the same. And oneDNN prepares a kernel for every new shape, so
full passes are filled to one constant number of tokens. `benchmarks/encode.py` measures both.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple, get_args

import numpy as np
import torch

from bothways.attention.stock import evaluation_mode
from bothways.encoder.batch import TokenRow, passes
from bothways.encoder.encode_types import Precision
from bothways.encoder.finite import check_vectors
from bothways.encoder.module import EncoderModule
from bothways.encoder.texts import boundary
from bothways.encoder.texts.tokenization import Text, is_pair
from bothways.errors import BothwaysError, InputError
from bothways.moved import old_names
from bothways.nearest import did_you_mean
from bothways.progress import Progress

# Texts that are tokenized and sorted together. It bounds memory if their number is unknown.
WINDOW = 16_384
# Characters of a window. Long texts close it earlier, because a token's row takes some 200 bytes.
CHARACTERS = 8_000_000
# Tokens per pass on a CPU. Activations of a 135M model stay in its cache (benchmarks/encode.py).
CPU_TOKENS = 1024
# Tokens per pass on a GPU, enough to fill it. Halved automatically when memory runs out.
GPU_TOKENS = 32_768
# Passes that are not full are filled to a multiple of this, to bound the number of shapes.
SHAPE_STEP = 64
# Below this many tokens, filler costs more than a new shape.
SMALL_PASS = 256

_VISIBLE = re.compile(r"\S")

log = logging.getLogger("bothways")


class TokenStates(NamedTuple):
    """One text's tokens: states (tokens, H) float32, character offsets, pool mask and ids."""

    states: np.ndarray
    offsets: list[tuple[int, int]]
    pool: np.ndarray
    ids: list[int]


@dataclass(frozen=True)
class EncodeSettings:
    """The arguments of a call of `Encoder.encode`, with the encoder's defaults filled in."""

    prompt: str | None = None
    batch_size: int | None = None
    batch_tokens: int | None = None
    normalize: bool = False
    truncate_dim: int | None = None

    def check(self, dimension: int) -> None:
        """Raise InputError if a number is out of range."""
        for name in ("truncate_dim", "batch_size", "batch_tokens"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Integral):
                raise InputError(f"{name}: must be a whole number (got {value!r:.60})")
        if self.truncate_dim is not None and not 1 <= self.truncate_dim <= dimension:
            raise InputError(
                f"truncate_dim: must lie between 1 and {dimension} (got {self.truncate_dim})"
            )
        for name, value in (("batch_size", self.batch_size), ("batch_tokens", self.batch_tokens)):
            if value is not None and value < 1:
                raise InputError(f"{name}: must be at least 1 (got {value})")


def encode_windows(
    encoder: EncoderModule,
    texts: Iterable[Text],
    settings: EncodeSettings,
    *,
    show: bool | None,
    window: int = WINDOW,
) -> Iterator[tuple[list[Text], np.ndarray]]:
    """Encode any iterable by windows: yields (texts, vectors (n, D) float32) in order.

    It reads no further ahead than one window. A window has `window` texts, or fewer if they are
    long, see `windows`. Texts that were cut are counted and reported at the end.
    """
    settings.check(encoder.dimension)
    total = len(texts) if isinstance(texts, Sequence) else None
    budget = Budget(encoder, settings.batch_tokens)
    done = cut = 0
    with Progress("encode", total, "texts", show=show) as bar:
        for start, part in windows(texts, window):
            rows = encoder.tokenize(part, prompt=settings.prompt, first=start)
            boundary.warn(encoder, part, rows, settings.prompt)
            done += len(rows)
            cut += sum(is_cut(text, row, encoder.max_length) for text, row in zip(part, rows))
            yield part, _encode(encoder, rows, part, start, settings, budget, bar)
    if cut:
        log.info(
            "%d of %d texts were longer than the encoder's %d tokens and were cut",
            cut,
            done,
            encoder.max_length,
        )


def is_cut(text: Text, row: TokenRow, limit: int | None) -> bool:
    """Return whether a row of `limit` tokens ends before its text, not counting blanks."""
    if limit is None or len(row.ids) < limit:
        return False
    body = text if isinstance(text, str) else text[1]
    return _VISIBLE.search(body, max((end for _, end in row.offsets), default=0)) is not None


def _encode(
    encoder: EncoderModule,
    rows: list[TokenRow],
    texts: Sequence[Text],
    start: int,
    settings: EncodeSettings,
    budget: Budget,
    bar: Progress,
) -> np.ndarray:
    vectors = np.empty((len(rows), settings.truncate_dim or encoder.dimension), dtype=np.float32)
    run = computing(encoder, budget, len(rows))
    # Not torch.inference_mode, because cached tensors (positions of a plan, rotary tables) could
    # not take part in training later.
    with evaluation_mode(encoder):
        for group, result in over_passes(rows, budget, settings.batch_size, run):
            check_vectors(
                result,
                [start + index for index in group],
                [texts[index] for index in group],
                encoder.dtype,
            )
            vectors[group] = finish(result[:, : settings.truncate_dim], settings.normalize)
            bar.advance(len(group))
    return vectors


def computing(
    encoder: EncoderModule, budget: Budget, count: int
) -> Callable[[list[TokenRow]], np.ndarray]:
    """Return the function that computes the vectors (N, D) float32 of a pass, not normalized.

    If a request of `count` texts is one short pass, the encoder's graph computes it, if it has one.
    The last pass of a long request does not count as short, so that vectors of many texts do not
    depend on how they are cut into passes.
    """

    def run(rows: list[TokenRow]) -> np.ndarray:
        if encoder.graph is not None and len(rows) == count:
            found: np.ndarray | None = encoder.graph(encoder, rows)
            if found is not None:
                return found
        batch = encoder.pack(rows, fill_to=budget.fill(rows)).to(encoder.device)
        made: np.ndarray = encoder(batch).float().cpu().numpy()
        return made

    return run


def encode_tokens(
    encoder: EncoderModule,
    texts: Sequence[Text],
    *,
    prompt: str | None,
    batch_tokens: int | None = None,
    show_progress_bar: bool | None = None,
) -> list[TokenStates]:
    """Compute token states of every text, in order. See `Encoder.encode_tokens`."""
    EncodeSettings(batch_tokens=batch_tokens).check(encoder.dimension)
    rows = encoder.tokenize(texts, prompt=prompt)
    found: dict[int, TokenStates] = {}
    budget = Budget(encoder, batch_tokens)

    def states(part: list[TokenRow]) -> list[np.ndarray]:
        batch = encoder.pack(part, fill_to=budget.fill(part)).to(encoder.device)
        packed = encoder.states(batch).float().cpu()
        return [s.numpy() for s in packed.split(batch.plan.lengths)[: batch.rows]]

    with (
        Progress("encode tokens", len(rows), "texts", show=show_progress_bar) as bar,
        evaluation_mode(encoder),
    ):
        for group, result in over_passes(rows, budget, None, states):
            for index, value in zip(group, result):
                row = rows[index]
                check_vectors(
                    value,
                    [index] * len(value),
                    [texts[index]] * len(value),
                    encoder.dtype,
                    zeros=False,
                )
                # a copy, because a view would keep the states of the whole pass
                found[index] = TokenStates(value.copy(), row.offsets, np.array(row.pool), row.ids)
            bar.advance(len(group))
    return [found[index] for index in range(len(rows))]


def windows(texts: Iterable[Text], size: int) -> Iterator[tuple[int, list[Text]]]:
    """Cut texts into windows of `size` texts or `CHARACTERS`: yields (index of the first, texts).

    It reads no further ahead than one window.

    Raises:
        InputError: `texts` is not a collection of texts, or `size` is not positive.
    """
    check_many(texts)
    if size < 1:
        raise InputError(f"window: must be at least 1 text (got {size})")
    window: list[Text] = []
    start = characters = 0
    for text in texts:
        window.append(text)
        characters += _characters(text)
        if len(window) == size or characters >= CHARACTERS:
            yield start, window
            start += len(window)
            window, characters = [], 0
    if window:
        yield start, window


def is_one(texts: object) -> bool:
    """Return whether a caller gave one text (or one pair) and not several."""
    return isinstance(texts, str) or (
        isinstance(texts, tuple) and len(texts) == 2 and all(isinstance(t, str) for t in texts)
    )


def check_many(texts: object) -> None:
    """Raise InputError if `texts` is not a collection of texts.

    A single text would be read letter by letter.
    """
    if isinstance(texts, (str, bytes, Mapping)) or not isinstance(texts, Iterable):
        raise InputError(
            f"texts: must be a string, a pair (instruction, text) or an iterable of these (got {type(texts).__name__})"
        )


def _characters(text: Any) -> int:
    """Count the characters of a text or a pair. The tokenizer refuses other items by index."""
    return sum(len(part) for part in (text if is_pair(text) else (text,)) if isinstance(part, str))


class Budget:
    """Tokens per pass: chosen for the device, halved when memory runs out. Also fills passes."""

    def __init__(self, encoder: EncoderModule, batch_tokens: int | None) -> None:
        on_cpu = encoder.device.type == "cpu"
        self.padded = encoder.execution == "padded"
        self.fills = on_cpu and not self.padded
        self.tokens = batch_tokens or (CPU_TOKENS if on_cpu else GPU_TOKENS)

    def fill(self, rows: Sequence[TokenRow]) -> int | None:
        """Return how many tokens a pass of these rows is filled to, or None if it is not filled."""
        used = sum(len(row.ids) for row in rows)
        if not self.fills or used < SMALL_PASS or used > self.tokens:
            return None
        if used >= self.tokens - max(SHAPE_STEP, self.tokens // 8):
            return self.tokens
        return -(-used // SHAPE_STEP) * SHAPE_STEP

    def cut(self, lengths: Sequence[int], batch_size: int | None) -> list[list[int]]:
        """Cut texts of these lengths into passes. The last pass of the list runs first."""
        return passes(lengths, self.tokens, batch_size, padded=self.padded)[::-1]


def over_passes(
    rows: Sequence[TokenRow],
    budget: Budget,
    batch_size: int | None,
    run: Callable[[list[TokenRow]], Any],
) -> Iterator[tuple[list[int], Any]]:
    """Run every pass: yields (indices, result).

    If a pass runs out of memory, the budget is halved and the remaining texts are cut again.

    Raises:
        BothwaysError: a single text does not fit into memory.
    """
    lengths = [len(row.ids) for row in rows]
    pending = budget.cut(lengths, batch_size)
    while pending:
        group = pending.pop()
        try:
            result = run([rows[i] for i in group])
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if len(group) == 1:
                raise BothwaysError(
                    f"a text of {lengths[group[0]]} tokens does not fit into memory; set a smaller max_length"
                ) from error
        else:
            yield group, result
            continue
        # outside the handler, because its traceback keeps the failed pass's tensors alive
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        budget.tokens = max(1, min(budget.tokens, sum(lengths[i] for i in group)) // 2)
        log.warning("out of memory: passes of %d tokens from here on", budget.tokens)
        left = [i for part in [group, *pending[::-1]] for i in part]
        pending = [
            [left[i] for i in part] for part in budget.cut([lengths[i] for i in left], batch_size)
        ]


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # the CPU allocator and oneDNN raise plain RuntimeErrors
    text = str(error).lower()
    return "not enough memory" in text or "out of memory" in text or "can't allocate memory" in text


def finish(vectors: np.ndarray, normalize: bool) -> np.ndarray:
    """Return vectors (n, D), scaled to unit length if `normalize` is True."""
    if not normalize:
        return vectors
    # float64, because squares of small numbers vanish in float32
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit: np.ndarray = (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)
    return unit


def quantize(vectors: np.ndarray, precision: Precision) -> np.ndarray:
    """Quantize like sentence-transformers (`quantize_embeddings`).

    int8 scales by the ranges of the given vectors, binary takes the sign. For example, "binary"
    turns (n, 576) float32 into (n, 72) int8.

    Raises:
        InputError: the precision is unknown, int8 gets equal vectors, which have no range, or the
            dimension of binary vectors is not a multiple of 8.
    """
    if precision not in get_args(Precision):
        raise InputError(
            f"precision: must be one of {', '.join(get_args(Precision))} (got {precision!r}){did_you_mean(precision, get_args(Precision))}"
        )
    if precision == "float32":
        return vectors
    count, dimension = vectors.shape
    if precision.endswith("int8") and count and not np.ptp(vectors, axis=0).any():
        raise InputError(
            f"precision: {precision!r} scales each number by its range over the texts of the call, so it needs several different texts; "
            "encode more texts together, or use 'binary'"
        )
    if precision.endswith("binary") and dimension % 8:
        raise InputError(
            f"precision: {precision!r} packs 8 numbers into a byte, so the dimension must be a multiple "
            f"of 8 (got {dimension}); set truncate_dim"
        )
    if count == 0:
        return np.empty(
            (0, dimension // 8 if precision.endswith("binary") else dimension), _NUMPY[precision]
        )
    from sentence_transformers.util import quantize_embeddings

    return np.asarray(quantize_embeddings(vectors, precision=precision))


_NUMPY = {"int8": np.int8, "uint8": np.uint8, "binary": np.int8, "ubinary": np.uint8}


__getattr__ = old_names(__name__)
