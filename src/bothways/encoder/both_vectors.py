"""Both LLaRA vectors of a text in one pass: of the text (EBAE) and of its continuation (EBAR).

    prefix  text  summarize question  predict question
    one row, whose vectors are read at the ends of the two questions

The questions are hidden blocks (`attention.blocks`). Both see the text, neither sees the other, and
the positions of both begin at the end of the text. So each answer is the same as if it had been
asked alone, and the text is computed once. In the causal direction, which is the published one, the
two vectors equal those of `encode_document` and `encode_query`.

This saves time with long texts only: one row of 1,024 tokens in place of two that have 1,792
together. With short texts most tokens belong to the questions. 24 short sentences took 20.0 s in
one pass and 20.3 s in two.

In `encode_document` and `encode_query`, a bidirectional text sees its question. Here it sees
neither question, as in training.

Method: LLaRA (Llama2Vec), arXiv 2312.15503. The row is that of the authors' released code.

Letters: N texts, T tokens of a pass, R answers of a pass, P states of an answer, H hidden, D
embedding.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bothways.attention.stock import evaluation_mode
from bothways.backbone.adapter.new_tokens import special_ids
from bothways.encoder.batch import TokenBatch, TokenRow
from bothways.encoder.finite import check_vectors
from bothways.encoder.inference import (
    WINDOW,
    Budget,
    EncodeSettings,
    finish,
    is_cut,
    over_passes,
    windows,
)
from bothways.encoder.module import EncoderModule
from bothways.encoder.questions import Questions
from bothways.errors import InputError
from bothways.progress import Progress

WHO = "encode_both"
REMEDY = "; train it with `bothways train llara`, or load an encoder that was"

log = logging.getLogger("bothways")


class Both(NamedTuple):
    """Two vectors of each text, (N, D) float32 each, or (D,) for one text.

    Args:
        ebae: of the text itself. Documents are encoded in this way.
        ebar: of the text's continuation. Queries are encoded in this way.
    """

    ebae: Any
    ebar: Any


class _Part(NamedTuple):
    """A row of a pass, the index of its text, and the answers that are read from it.

    The answers (0 EBAE, 1 EBAR) are read at the ends of the row's blocks, or at the row's own end
    if it has no blocks.
    """

    row: TokenRow
    owner: int
    sides: tuple[int, ...]


def encode_both(
    encoder: EncoderModule,
    texts: str | Iterable[str],
    *,
    convert_to_tensor: bool = False,
    show_progress_bar: bool | None = None,
    **options: Any,
) -> Both:
    """Encode texts with both questions.

    Args:
        encoder: made by the recipe llara, or one with the same kind of prompts and pooling.
        texts: one text, or a list or any other iterable of texts. Give no instructions, because the
            questions are the instructions.
        convert_to_tensor: return torch tensors on the CPU instead of numpy arrays.
        show_progress_bar: if None, show it on a terminal when encoding takes long.
        **options: `batch_size`, `normalize_embeddings`, `truncate_dim` and `batch_tokens`, as in
            `Encoder.encode`.

    Raises:
        InputError: the encoder lacks the two questions or the tokens at their ends, an item is not
            a string, or a number is out of range.
        UnsupportedFamily: the encoder is bidirectional and its family cannot hide a question from
            the text.
    """
    one = isinstance(texts, str)
    items: Iterable[str] = [texts] if isinstance(texts, str) else texts
    parts = [
        vectors
        for _, vectors in encode_both_stream(
            encoder, items, show_progress_bar=show_progress_bar, **options
        )
    ]
    width = options.get("truncate_dim") or encoder.dimension
    vectors = np.concatenate([np.empty((0, 2, width), dtype=np.float32), *parts])
    sides = [np.ascontiguousarray(vectors[0, side] if one else vectors[:, side]) for side in (0, 1)]
    return Both(*(torch.from_numpy(side) if convert_to_tensor else side for side in sides))


def encode_both_stream(
    encoder: EncoderModule,
    texts: Iterable[str],
    *,
    window: int = WINDOW,
    batch_size: int | None = None,
    show_progress_bar: bool | None = None,
    normalize_embeddings: bool | None = None,
    truncate_dim: int | None = None,
    batch_tokens: int | None = None,
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Encode any number of texts in constant memory.

    Yields (texts, vectors (n, 2, D): EBAE, EBAR) for every `window` texts. Other arguments and
    errors are those of `encode_both`.
    """
    questions = questions_of(encoder)
    settings = EncodeSettings(
        batch_size=batch_size,
        batch_tokens=batch_tokens,
        normalize=encoder.options.normalize
        if normalize_embeddings is None
        else normalize_embeddings,
        truncate_dim=truncate_dim,
    )
    settings.check(encoder.dimension)
    return _windows(encoder, questions, texts, settings, show_progress_bar, window)


def _windows(
    encoder: EncoderModule,
    questions: Questions,
    texts: Iterable[Any],
    settings: EncodeSettings,
    show: bool | None,
    window: int,
) -> Iterator[tuple[list[str], np.ndarray]]:
    if encoder.direction == "bidirectional":
        log.warning(
            "%s: this encoder is bidirectional, and in one pass a text sees neither question, as in training; "
            "in encode_document and encode_query it sees its question, so the vectors differ",
            WHO,
        )
    total = len(texts) if isinstance(texts, Sequence) else None
    budget = Budget(encoder, settings.batch_tokens)
    done = cut = 0
    with Progress("encode both", total, "texts", show=show) as bar:
        for start, some in windows(texts, window):
            found: list[str] = []
            for number, text in enumerate(some, start):
                if not isinstance(text, str):
                    raise InputError(
                        f"texts[{number}]: must be a string (got {type(text).__name__}); {WHO} asks its two questions "
                        "itself, so give texts without an instruction"
                    )
                found.append(text)
            parts, shortened = rows_of(encoder, questions, found, start)
            done += len(found)
            cut += shortened
            yield found, _encode(encoder, questions, parts, found, start, settings, budget)
            bar.advance(len(found))
    if cut:
        log.info(
            "%d of %d texts were longer than the encoder's %d tokens and were cut",
            cut,
            done,
            encoder.max_length,
        )


def questions_of(encoder: EncoderModule) -> Questions:
    """Find the questions of an encoder that can answer both at once.

    Raises:
        InputError: the encoder has no questions, or their last tokens are not special tokens and no
            LLaRA stage has trained them.
    """
    questions = Questions.of(encoder, WHO, REMEDY)
    trained = any(_kind(stage) == "llara" for stage in encoder.provenance.get("stages", ()))
    known = special_ids(encoder.tokenizer)
    for prompt, block in zip((questions.summarize, questions.predict), questions.blocks):
        read = block[-questions.read :]
        if not trained and not known.issuperset(read):
            shown = " ".join(encoder.tokenizer.convert_ids_to_tokens(read))
            raise InputError(
                f"{WHO}: the vector of the prompt {prompt[-60:]!r} is read at the tokens {shown!r}, which are not special tokens of "
                f"this tokenizer, so the model has never learned to answer there{REMEDY}"
            )
    return questions


def _kind(stage: object) -> object:
    objective = stage.get("objective") if isinstance(stage, dict) else None
    return objective.get("kind") if isinstance(objective, dict) else None


def rows_of(
    encoder: EncoderModule, questions: Questions, texts: Sequence[str], first: int
) -> tuple[list[_Part], int]:
    """Tokenize texts with both questions.

    Returns the parts of each text, and how many texts were cut.

    Each question leaves the text as much room as it does alone. If the questions differ in length
    and a text is cut, causal text has a few tokens more in front of the shorter question. These
    tokens belong to its block, so they have the states that they would have there.
    """
    alone = [
        encoder.tokenize(texts, prompt=prompt, first=first)
        for prompt in (questions.summarize, questions.predict)
    ]
    parts: list[_Part] = []
    cut = 0
    for index, rows in enumerate(zip(*alone)):
        cut += any(is_cut(texts[index], row, encoder.max_length) for row in rows)
        bodies = [row.ids[: len(row.ids) - size] for row, size in zip(rows, questions.sizes)]
        text = min(bodies, key=len)
        if not text:  # an empty text with nothing before it, so there is nothing to share
            parts += [
                _Part(TokenRow(row.ids, row.pool, row.offsets), index, (side,))
                for side, row in enumerate(rows)
            ]
            continue
        more = [body[len(text) :] if encoder.direction == "causal" else [] for body in bodies]
        blocks = [own + block for own, block in zip(more, questions.blocks)]
        ids = [*text, *blocks[0], *blocks[1]]
        row = TokenRow(
            ids, [False] * len(ids), [(0, 0)] * len(ids), (len(blocks[0]), len(blocks[1]))
        )
        parts.append(_Part(row, index, (0, 1)))
    return parts, cut


def _encode(
    encoder: EncoderModule,
    questions: Questions,
    parts: Sequence[_Part],
    texts: Sequence[str],
    start: int,
    settings: EncodeSettings,
    budget: Budget,
) -> np.ndarray:
    """Compute vectors (N, 2, D) of the texts of a window."""
    vectors = np.empty(
        (len(texts), 2, settings.truncate_dim or encoder.dimension), dtype=np.float32
    )

    def run(rows: list[TokenRow]) -> np.ndarray:
        batch = encoder.pack(rows, fill_to=budget.fill(rows)).to(encoder.device)
        return answers(encoder, batch, questions.read).float().cpu().numpy()

    with evaluation_mode(encoder):
        for group, result in over_passes(
            [part.row for part in parts], budget, settings.batch_size, run
        ):
            owners = [
                (parts[number].owner, side) for number in group for side in parts[number].sides
            ]
            of_text = [index for index, _ in owners]
            check_vectors(
                result,
                [start + index for index in of_text],
                [texts[index] for index in of_text],
                encoder.dtype,
            )
            vectors[of_text, [side for _, side in owners]] = finish(
                result[:, : settings.truncate_dim], settings.normalize
            )
    return vectors


def answers(encoder: EncoderModule, batch: TokenBatch, read: int) -> Tensor:
    """Compute vectors (R, D) of a packed batch.

    They are read at the end of each of a row's blocks, from the left, or at the end of a row
    without blocks.
    """
    ends, begin = [], 0
    for length, blocks in zip(
        batch.plan.lengths[: batch.rows], batch.plan.blocks or [()] * batch.rows
    ):
        begin += length
        ends += [begin - sum(blocks[number + 1 :]) for number in range(max(1, len(blocks)))]
    states = encoder.pooled_states(batch)
    places = (torch.tensor(ends)[:, None] + torch.arange(-read, 0)).flatten().to(states.device)
    segments = torch.arange(len(ends), device=states.device).repeat_interleave(read)
    pooled: Tensor = encoder.pooling(
        states[places], torch.ones_like(segments, dtype=torch.bool), segments, len(ends)
    )
    return pooled
