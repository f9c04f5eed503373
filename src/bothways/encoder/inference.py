"""Many texts through an encoder: windows, length-sorted packed passes, memory back-off, order restored.

Speed on CPUs comes from two facts. Passes are sorted by length and cut by token count, so that no token is padding and every pass
costs the same. And oneDNN prepares a kernel for every new shape, so full passes are brought to one constant number of tokens.
`benchmarks/encode.py` measures both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import torch

from bothways.encoder.batch import TokenRow, passes
from bothways.encoder.tokenization import Text
from bothways.errors import BothwaysError, InputError
from bothways.progress import Progress

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
WINDOW = 16_384  # texts that are tokenised and sorted together; bounds memory when the number of texts is unknown
CPU_TOKENS = 1024  # per pass: activations of a 135M model stay in a CPU's cache (benchmarks/encode.py)
GPU_TOKENS = 32_768  # per pass: fills a GPU; halved by itself when memory runs out
SHAPE_STEP = 64  # passes that are not full are brought to a multiple of this, to bound the number of shapes
SMALL_PASS = 256  # below this many tokens filler costs more than a new shape

log = logging.getLogger("bothways")


class TokenStates(NamedTuple):
    """One text's tokens: states (tokens, H) float32, character offsets, pool mask and ids."""

    states: np.ndarray
    offsets: list[tuple[int, int]]
    pool: np.ndarray
    ids: list[int]


def encode(
    encoder: Encoder,
    texts: Iterable[Text],
    *,
    prompt: str | None,
    batch_size: int | None,
    batch_tokens: int | None,
    progress: bool | None,
    normalize: bool,
    truncate_dim: int | None,
) -> np.ndarray:
    """Vectors (N, D) float32 of any iterable of texts, in order. See `Encoder.encode`."""
    if truncate_dim is not None and not 1 <= truncate_dim <= encoder.dimension:
        raise InputError(f"truncate_dim: must lie between 1 and {encoder.dimension} (got {truncate_dim})")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size: must be at least 1 (got {batch_size})")
    total = len(texts) if isinstance(texts, Sequence) else None
    parts: list[np.ndarray] = []
    budget = Budget(encoder, batch_tokens)
    with Progress("encode", total, "texts", show=progress) as bar, inference_mode(encoder):
        for start, window in windows(texts, WINDOW):
            rows = encoder.tokenize(window, prompt=prompt, first=start)
            vectors = np.empty((len(rows), truncate_dim or encoder.dimension), dtype=np.float32)
            for group, result in over_passes(rows, budget, batch_size, lambda part: _vectors(encoder, part, budget)):
                vectors[group] = _finish(result[:, :truncate_dim], normalize)
                bar.advance(len(group))
            parts.append(vectors)
    if not parts:
        return np.empty((0, truncate_dim or encoder.dimension), dtype=np.float32)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def encode_tokens(
    encoder: Encoder,
    texts: Sequence[Text],
    *,
    prompt: str | None,
    batch_tokens: int | None = None,
    show_progress_bar: bool | None = None,
) -> list[TokenStates]:
    """Token states of every text, in order. See `Encoder.encode_tokens`."""
    rows = encoder.tokenize(texts, prompt=prompt)
    found: list[TokenStates | None] = [None] * len(rows)
    budget = Budget(encoder, batch_tokens)

    def states(part: list[TokenRow]) -> list[np.ndarray]:
        batch = encoder.pack(part, fill_to=budget.fill(part)).to(encoder.device)
        packed = encoder.states(batch).float().cpu()
        return [s.numpy() for s in packed.split(batch.plan.lengths)[: batch.rows]]

    with Progress("encode tokens", len(rows), "texts", show=show_progress_bar) as bar, inference_mode(encoder):
        for group, result in over_passes(rows, budget, None, states):
            for index, value in zip(group, result):
                row = rows[index]
                found[index] = TokenStates(value.copy(), row.offsets, np.array(row.pool), row.ids)
            bar.advance(len(group))
    return [item for item in found if item is not None]


def windows(texts: Iterable[Text], size: int) -> Iterator[tuple[int, list[Text]]]:
    """(index of the first, texts) for windows of `size` texts; reads no further ahead than one window."""
    window: list[Text] = []
    start = 0
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Iterable):
        raise InputError(f"texts: must be a string, a pair (instruction, text) or an iterable of these (got {type(texts).__name__})")
    for text in texts:
        window.append(text)
        if len(window) == size:
            yield start, window
            start += size
            window = []
    if window:
        yield start, window


def renumber(call: Callable[..., Any], part: list[Text], start: int, options: dict[str, Any]) -> Any:
    """Call with one window; an error names the index in the whole stream."""
    try:
        return call(part, **options)
    except InputError as error:
        raise InputError(f"window that starts at text {start}: {error}") from None


class Budget:
    """Tokens per pass: chosen for the device, halved when memory runs out, and how far a pass is filled."""

    def __init__(self, encoder: Encoder, batch_tokens: int | None) -> None:
        if batch_tokens is not None and batch_tokens < 1:
            raise InputError(f"batch_tokens: must be at least 1 (got {batch_tokens})")
        self.on_cpu = encoder.device.type == "cpu"
        self.tokens = batch_tokens or (CPU_TOKENS if self.on_cpu else GPU_TOKENS)

    def fill(self, rows: Sequence[TokenRow]) -> int | None:
        """Tokens to bring a pass of these rows to."""
        used = sum(len(row.ids) for row in rows)
        if not self.on_cpu or used < SMALL_PASS or used > self.tokens:
            return None
        if used >= self.tokens - max(SHAPE_STEP, self.tokens // 8):
            return self.tokens
        return -(-used // SHAPE_STEP) * SHAPE_STEP


def over_passes(
    rows: Sequence[TokenRow], budget: Budget, batch_size: int | None, run: Callable[[list[TokenRow]], Any]
) -> Iterator[tuple[list[int], Any]]:
    """(indices, result) of every pass; a pass that exhausts memory is cut in half and tried again.

    Raises:
        BothwaysError: one text alone does not fit into memory.
    """
    lengths = [len(row.ids) for row in rows]
    pending = passes(lengths, budget.tokens, batch_size)[::-1]
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
            budget.tokens = max(1, min(budget.tokens, sum(lengths[i] for i in group)) // 2)
            log.warning("out of memory: passes of %d tokens from here on", budget.tokens)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            left = [i for part in [group, *pending[::-1]] for i in part]
            pending = [[left[i] for i in part] for part in passes([lengths[i] for i in left], budget.tokens, batch_size)][::-1]
            continue
        yield group, result


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # the CPU allocator and oneDNN raise plain RuntimeErrors
    text = str(error).lower()
    return "not enough memory" in text or "out of memory" in text or "can't allocate memory" in text


class inference_mode:  # noqa: N801 - reads as a statement: with inference_mode(encoder)
    """No gradients, no dropout; the encoder's training flag is restored afterwards."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.was_training = encoder.training
        self.context: Any = nullcontext()

    def __enter__(self) -> None:
        """Enter evaluation mode."""
        self.encoder.eval()
        self.context = torch.inference_mode()
        self.context.__enter__()

    def __exit__(self, *error: Any) -> None:
        """Restore the mode."""
        self.context.__exit__(*error)
        self.encoder.train(self.was_training)


def _vectors(encoder: Encoder, rows: list[TokenRow], budget: Budget) -> np.ndarray:
    batch = encoder.pack(rows, fill_to=budget.fill(rows)).to(encoder.device)
    return encoder(batch).float().cpu().numpy()


def _finish(vectors: np.ndarray, normalize: bool) -> np.ndarray:
    if not normalize:
        return vectors
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, 1e-12)


def quantize(vectors: np.ndarray, precision: Precision) -> np.ndarray:
    """Quantise as sentence-transformers does (`quantize_embeddings`): int8 ranges from the vectors themselves, binary from the sign."""
    if precision not in get_args(Precision):
        raise InputError(f"precision: must be one of {', '.join(get_args(Precision))} (got {precision!r})")
    if precision == "float32":
        return vectors
    from sentence_transformers.util import quantize_embeddings

    return quantize_embeddings(vectors, precision=precision)
