"""Both vectors of a text in one pass: what it says (EBAE) and what follows it (EBAR), as LLaRA trains them.

    prefix  text  summarize question  predict question      one row; the vectors are read at the ends of the two questions

The questions are hidden blocks (`attention.blocks`): both see the text, neither sees the other, and the positions of both begin at the
text's end. So each answer is what it would be by itself, and the text is computed once. In the causal direction, as published, the two
vectors are those of `encode_document` and `encode_query`, at about half the cost. A bidirectional text sees its question there, and
neither of the two here, which is how the objective trains it.

Method: LLaRA (Llama2Vec), arXiv 2312.15503; the row as in the authors' released code.

Letters: N texts, T tokens of a pass, R answers of a pass, P states of an answer, H hidden, D embedding.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bothways.attention.stock import quiet
from bothways.backbone.new_tokens import special_ids
from bothways.encoder.batch import TokenBatch, TokenRow
from bothways.encoder.finite import check_vectors
from bothways.encoder.inference import WINDOW, Budget, Settings, finish, is_cut, over_passes, windows
from bothways.encoder.questions import Questions
from bothways.errors import InputError
from bothways.progress import Progress

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

WHO = "encode_both"
REMEDY = "; train it with `bothways train llara`, or load an encoder that was"

log = logging.getLogger("bothways")


class Both(NamedTuple):
    """Two vectors of each text, (N, D) float32 each, or (D,) for one text.

    ebae: of the text itself; documents are encoded so. ebar: of what follows it; queries are encoded so.
    """

    ebae: Any
    ebar: Any


class _Part(NamedTuple):
    """A row of a pass, the text that it belongs to, and which answers (0 EBAE, 1 EBAR) stand at the ends of its blocks, or at its own."""

    row: TokenRow
    owner: int
    sides: tuple[int, ...]


def encode_both(
    encoder: Encoder,
    texts: str | Iterable[str],
    *,
    convert_to_tensor: bool = False,
    show_progress_bar: bool | None = None,
    **options: Any,
) -> Both:
    """Encode texts with both questions.

    Args:
        encoder: made by the recipe llara, or one with the same kind of prompts and pooling.
        texts: one text, or many: a list or any iterable. They bring no instruction, since the questions are the instructions.
        convert_to_tensor: torch tensors on the CPU in place of numpy arrays.
        show_progress_bar: if None, on a terminal and when it takes long.
        **options: `batch_size`, `normalize_embeddings`, `truncate_dim` and `batch_tokens`, as `Encoder.encode`.

    Raises:
        InputError: an encoder without the two questions or without the tokens that they end with; an item that is not a string; a
            number out of range.
        UnsupportedFamily: a bidirectional encoder of a family that cannot hide a question from the text.
    """
    one = isinstance(texts, str)
    items: Iterable[str] = [texts] if isinstance(texts, str) else texts
    parts = [vectors for _, vectors in encode_both_stream(encoder, items, show_progress_bar=show_progress_bar, **options)]
    width = options.get("truncate_dim") or encoder.dimension
    vectors = np.concatenate([np.empty((0, 2, width), dtype=np.float32), *parts])
    sides = [np.ascontiguousarray(vectors[0, side] if one else vectors[:, side]) for side in (0, 1)]
    return Both(*(torch.from_numpy(side) if convert_to_tensor else side for side in sides))


def encode_both_stream(
    encoder: Encoder,
    texts: Iterable[str],
    *,
    window: int = WINDOW,
    batch_size: int | None = None,
    show_progress_bar: bool | None = None,
    normalize_embeddings: bool | None = None,
    truncate_dim: int | None = None,
    batch_tokens: int | None = None,
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Encode any number of texts in constant memory: yields (texts, vectors (n, 2, D): EBAE, EBAR) for every `window` texts.

    Other arguments and errors as `encode_both`.
    """
    questions = questions_of(encoder)
    settings = Settings(
        batch_size=batch_size,
        batch_tokens=batch_tokens,
        normalize=encoder.options.normalize if normalize_embeddings is None else normalize_embeddings,
        truncate_dim=truncate_dim,
    )
    settings.check(encoder.dimension)
    return _windows(encoder, questions, texts, settings, show_progress_bar, window)


def _windows(
    encoder: Encoder, questions: Questions, texts: Iterable[Any], settings: Settings, show: bool | None, window: int
) -> Iterator[tuple[list[str], np.ndarray]]:
    if encoder.direction == "bidirectional":
        log.warning(
            "%s: this encoder is bidirectional, and in one pass a text sees neither question, as in LLaRA's adaptation; encode_document "
            "and encode_query show it its question and give other vectors",
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
                        f"texts[{number}]: must be a string (got {type(text).__name__}); {WHO} asks its two questions itself, so a text "
                        "brings no instruction"
                    )
                found.append(text)
            parts, shortened = rows_of(encoder, questions, found, start)
            done += len(found)
            cut += shortened
            yield found, _encode(encoder, questions, parts, found, start, settings, budget)
            bar.advance(len(found))
    if cut:
        log.info("%d of %d texts were longer than the encoder's %d tokens and were cut", cut, done, encoder.max_length)


def questions_of(encoder: Encoder) -> Questions:
    """Find the questions of an encoder that can answer both at once.

    Raises:
        InputError: there are none, or their last tokens are no special ones and no stage of LLaRA has trained them.
    """
    questions = Questions.of(encoder, WHO, REMEDY)
    trained = any(_kind(stage) == "llara" for stage in encoder.provenance.get("stages", ()))
    known = special_ids(encoder.tokenizer)
    for prompt, block in zip((questions.summarize, questions.predict), questions.blocks):
        read = block[-questions.read :]
        if not trained and not known.issuperset(read):
            shown = " ".join(encoder.tokenizer.convert_ids_to_tokens(read))
            raise InputError(
                f"{WHO}: the vector of the prompt {prompt[-60:]!r} is read at the tokens {shown!r}, which are not special tokens of this "
                f"tokenizer: the model has never learned to answer there{REMEDY}"
            )
    return questions


def _kind(stage: Any) -> Any:
    objective = stage.get("objective") if isinstance(stage, dict) else None
    return objective.get("kind") if isinstance(objective, dict) else None


def rows_of(encoder: Encoder, questions: Questions, texts: Sequence[str], first: int) -> tuple[list[_Part], int]:
    """Tokenize texts with both questions; the parts of each text, and how many texts were cut.

    Each question leaves the text as much room as it does by itself. If they differ in length and a text is cut, causal text has a few
    tokens more in front of the shorter question: they belong to its block, and so have the states that they have there.
    """
    alone = [encoder.tokenize(texts, prompt=prompt, first=first) for prompt in (questions.summarize, questions.predict)]
    parts: list[_Part] = []
    cut = 0
    for index, rows in enumerate(zip(*alone)):
        cut += any(is_cut(texts[index], row, encoder.max_length) for row in rows)
        bodies = [row.ids[: len(row.ids) - size] for row, size in zip(rows, questions.sizes)]
        text = min(bodies, key=len)
        if not text:  # nothing to share: an empty text, and nothing before it
            parts += [_Part(TokenRow(row.ids, row.pool, row.offsets), index, (side,)) for side, row in enumerate(rows)]
            continue
        more = [body[len(text) :] if encoder.direction == "causal" else [] for body in bodies]
        blocks = [own + block for own, block in zip(more, questions.blocks)]
        ids = [*text, *blocks[0], *blocks[1]]
        row = TokenRow(ids, [False] * len(ids), [(0, 0)] * len(ids), (len(blocks[0]), len(blocks[1])))
        parts.append(_Part(row, index, (0, 1)))
    return parts, cut


def _encode(
    encoder: Encoder,
    questions: Questions,
    parts: Sequence[_Part],
    texts: Sequence[str],
    start: int,
    settings: Settings,
    budget: Budget,
) -> np.ndarray:
    """Vectors (N, 2, D) of the texts of a window."""
    vectors = np.empty((len(texts), 2, settings.truncate_dim or encoder.dimension), dtype=np.float32)

    def run(rows: list[TokenRow]) -> np.ndarray:
        batch = encoder.pack(rows, fill_to=budget.fill(rows)).to(encoder.device)
        return answers(encoder, batch, questions.read).float().cpu().numpy()

    with quiet(encoder):
        for group, result in over_passes([part.row for part in parts], budget, settings.batch_size, run):
            owners = [(parts[number].owner, side) for number in group for side in parts[number].sides]
            of_text = [index for index, _ in owners]
            check_vectors(result, [start + index for index in of_text], [texts[index] for index in of_text], encoder.dtype)
            vectors[of_text, [side for _, side in owners]] = finish(result[:, : settings.truncate_dim], settings.normalize)
    return vectors


def answers(encoder: Encoder, batch: TokenBatch, read: int) -> Tensor:
    """Vectors (R, D) of a packed batch: of each row's blocks from the left, or of a row without blocks at its end."""
    ends, begin = [], 0
    for length, blocks in zip(batch.plan.lengths[: batch.rows], batch.plan.blocks or [()] * batch.rows):
        begin += length
        ends += [begin - sum(blocks[number + 1 :]) for number in range(max(1, len(blocks)))]
    states = encoder.pooled_states(batch)
    places = (torch.tensor(ends)[:, None] + torch.arange(-read, 0)).flatten().to(states.device)
    segments = torch.arange(len(ends), device=states.device).repeat_interleave(read)
    pooled: Tensor = encoder.pooling(states[places], torch.ones_like(segments, dtype=torch.bool), segments, len(ends))
    return pooled
