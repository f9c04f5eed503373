"""Vectors of all words of some sentences, computed in one pass of the frozen encoder.

They are kept for every probe that is trained on them. On disk they are float16, two bytes a number.
Its rounding (2^-11) is far below the noise that dropout adds for a probe. This pass takes two
thirds of the time of a word-level evaluation, so its result is cached in the user's cache, by the
digest of encoder and data.

Letters: S sentences, W words of all of them, H hidden.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bothways.backbone.loading.embedded import cache_root
from bothways.encoder.encoder import Encoder
from bothways.encoder.texts.embedding_rows import embedding_rows
from bothways.encoder.texts.tokenization import TextTokenizer
from bothways.errors import InputError
from bothways.evaluation.inputs.named_data import data_fingerprint
from bothways.evaluation.probing.array_file import array_file
from bothways.evaluation.probing.encoder_digest import encoder_digest
from bothways.evaluation.probing.token_passes import row_states
from bothways.evaluation.probing.word_alignment import (
    Alignment,
    aligned,
    average,
    front_token,
    join_words,
    tokens_of_words,
)
from bothways.evaluation.task import RunOptions
from bothways.progress import Progress

_FORMAT = 1  # raise it if the same encoder and data would give other vectors
_TOGETHER = 1024  # sentences sorted and written together. A killed run loses at most so many


@dataclass(frozen=True)
class WordStates:
    """Vectors of words, sentence after sentence.

    Attributes:
        vectors: (W, H) float16, possibly memory-mapped.
        starts: (S + 1,) int64. The words of sentence s are rows starts[s] to starts[s + 1] - 1.
        without_tokens: number of words with a zero vector, because the encoder's `max_length` cut
            them off or its tokenizer drops them.
    """

    vectors: np.ndarray
    starts: np.ndarray
    without_tokens: int

    def split(self, sentences: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Split into consecutive parts, as (vectors, starts).

        Args:
            sentences: number of sentences in each part, for example [14041, 3250, 3453].
        """
        bounds = np.cumsum([0, *sentences])
        return [
            (self.vectors[self.starts[a] : self.starts[b]], self.starts[a : b + 1] - self.starts[a])
            for a, b in pairwise(bounds)
        ]


def word_states(
    encoder: Encoder,
    sentences: Sequence[Sequence[str]],
    alignment: Alignment,
    options: RunOptions,
    *,
    on_disk: bool = True,
) -> WordStates:
    """Compute the vectors of every word of every sentence.

    As in LLM2Vec's word-level code, sentences are run without an instruction or a chat template,
    but with the special tokens that the tokenizer adds.

    Args:
        encoder: the frozen encoder.
        sentences: S ≥ 1 sentences of at least one word.
        alignment: see `word_alignment`.
        options: how the encoder is run.
        on_disk: if True, cache the vectors on disk (BOTHWAYS_CACHE, else ~/.cache/bothways, folder
            `words`) and reuse them. A run that was killed continues from there. If False, keep them
            in memory.

    Raises:
        InputError: if a state is not finite or too large for float16, or if there is no token to
            put before the first word.
        OutputError: if the cache cannot be written.
    """
    starts = np.cumsum([0, *map(len, sentences)])
    pass_ = _Pass(encoder, sentences, alignment, options)
    rows, width = int(starts[-1]), encoder.hidden_size
    if on_disk:
        path = cache_root() / "words" / f"{_key(encoder, sentences, alignment)}.f16"
        vectors = array_file(
            path,
            rows,
            width,
            np.float16,
            lambda done: pass_.blocks(starts, done),
            unit=lambda n: _whole(starts, n),
        )
    else:
        vectors = np.concatenate(list(pass_.blocks(starts, 0)))
    return WordStates(vectors, starts, int((~vectors.any(axis=1)).sum()))


def _whole(starts: np.ndarray, rows: int) -> int:
    """Return the largest number of words, at most `rows`, after which a sentence ends."""
    return int(starts[np.searchsorted(starts, rows, side="right") - 1])


def _key(encoder: Encoder, sentences: Sequence[Sequence[str]], alignment: Alignment) -> str:
    decides = [
        _FORMAT,
        encoder_digest(encoder),
        data_fingerprint(map(list, sentences)),
        alignment,
        encoder.max_length,
    ]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:32]


class _Pass:
    """The encoder over the sentences, from any of them on."""

    def __init__(
        self,
        encoder: Encoder,
        sentences: Sequence[Sequence[str]],
        alignment: Alignment,
        options: RunOptions,
    ) -> None:
        self.encoder, self.sentences, self.alignment, self.options = (
            encoder,
            sentences,
            alignment,
            options,
        )
        self.tokenizer = TextTokenizer(
            encoder.tokenizer, max_length=encoder.max_length, rows=embedding_rows(encoder.backbone)
        )
        self.front = front_token(encoder.tokenizer)

    def blocks(self, starts: np.ndarray, done: int) -> Iterator[np.ndarray]:
        """Yield vectors (n, H) float16 of the sentences after the first `done` words."""
        first = int(np.searchsorted(starts, done))
        with Progress(
            "word states",
            len(self.sentences) - first,
            "sentences",
            show=self.options.show_progress_bar,
        ) as bar:
            for start in range(first, len(self.sentences), _TOGETHER):
                yield self._block(start, bar)

    def _block(self, start: int, bar: Progress) -> np.ndarray:
        some = self.sentences[start : start + _TOGETHER]
        joined = [join_words(words) for words in some]
        made = [
            aligned(row, tokens_of_words(row.offsets, places), self.alignment, self.front)
            for row, (_, places) in zip(self.tokenizer([text for text, _ in joined]), joined)
        ]
        found: list[np.ndarray] = [np.empty(0)] * len(some)
        for number, states in row_states(self.encoder, [row for row, _ in made], self.options):
            vectors = average(states, made[number][1])
            if not np.abs(vectors).max() <= np.finfo(np.float16).max:
                shown = joined[number][0][:60]
                raise InputError(
                    f"sentence {start + number} ({shown!r}): states that are not finite, or too large for float16"
                )
            found[number] = vectors.astype(np.float16)
            bar.advance()
        return np.concatenate(found)
