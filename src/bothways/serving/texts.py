"""A served model: its texts become token rows, with the instruction that a request means."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bothways.encoder.batch import TokenRow
from bothways.encoder.encoder import Encoder
from bothways.encoder.inference import is_cut
from bothways.encoder.texts import boundary
from bothways.encoder.texts.embedding_rows import check_embedded
from bothways.encoder.texts.tokenization import Text, least
from bothways.errors import InputError
from bothways.serving.answer_vectors import ranges_of
from bothways.serving.refusal import Refusal

ROLES = {
    "query": "query",
    "search_query": "query",
    "document": "document",
    "passage": "document",
    "search_document": "document",
}
"""Values of `input_type` that name a role, as Cohere's and Voyage's clients write them."""
# Texts that are tokenized before their tokens are counted.
_STEP = 64
# Characters of a text that are kept for messages.
_SHOWN = 200


@dataclass
class TokenizedRows:
    """Tokenized texts.

    Args:
        rows: their tokens, without offsets, which take most of the memory.
        texts: their beginnings, for messages.
        cut: indices of texts that are longer than the model reads.
    """

    rows: list[TokenRow]
    texts: list[str]
    cut: list[int]

    @property
    def tokens(self) -> int:
        """Number of tokens that the model reads."""
        return sum(len(row.ids) for row in self.rows)


class ServedModel:
    """An encoder with the name that clients give.

    Its methods are not safe between threads, because tokenizers change state while they work. The
    server calls them on one thread.
    """

    def __init__(self, name: str, encoder: Encoder) -> None:
        self.name, self.encoder = name, encoder
        # The engine's thread reads documents for late chunks while others are tokenized.
        self.chunker = copy.copy(encoder)
        self.chunker.tokenizer = copy.deepcopy(encoder.tokenizer)
        self._calibration: np.ndarray | None = None
        self._ranges: dict[tuple[int | None, bool], np.ndarray] = {}

    def calibrate(self, texts: Sequence[str]) -> None:
        """Keep the vectors of these texts, for the ranges of int8."""
        if texts:
            self._calibration = self.encoder.encode(list(texts), normalize_embeddings=False)

    @property
    def calibrated(self) -> bool:
        """Whether there are ranges for int8."""
        return self._calibration is not None

    def ranges(self, dimensions: int | None, normalize: bool) -> np.ndarray:
        """Return the ranges (2, D') for int8 vectors of these settings."""
        assert self._calibration is not None
        found = self._ranges.get((dimensions, normalize))
        if found is None:
            found = self._ranges[dimensions, normalize] = ranges_of(
                self._calibration, dimensions, normalize
            )
        return found

    def prompt(self, input_type: str | None) -> str | None:
        """Find the instruction for an `input_type`, for example "query" or a stored prompt's name.

        Raises:
            InputError: there is no such prompt.
        """
        if input_type in ROLES:
            return self.encoder.role_prompt(ROLES[input_type])  # type: ignore[arg-type]
        try:
            return self.encoder.prompt(None, input_type)
        except InputError as error:
            raise InputError(
                f"{str(error).replace('prompt_name', 'input_type', 1)}; query and document always work"
            ) from None

    def tokenize(
        self,
        texts: Sequence[Text],
        prompt: str | None,
        *,
        most: int,
        truncate: bool = True,
        used: int = 0,
        field: str = "input",
    ) -> TokenizedRows:
        """Tokenize texts.

        Args:
            texts: texts, or pairs (instruction, text).
            prompt: instruction of every text that has none of its own.
            most: maximum number of tokens of the request.
            used: tokens of the request's other texts.
            truncate: whether longer texts than the model reads are cut.
            field: the field of the request that holds the texts. "query" holds one.

        Raises:
            InputError: an instruction leaves no room for the text.
            Refusal: too many tokens (413), or a text that is too long without `truncate` (422).
        """
        limit = self.encoder.max_length
        found = TokenizedRows([], [], [])
        tokens = used
        for start in range(0, len(texts), _STEP):
            part = texts[start : start + _STEP]
            rows = self.encoder.tokenize(
                part, prompt=prompt, max_length=least(limit, most + 1), first=start
            )
            boundary.warn(self.encoder, part, rows, prompt)
            found.cut += [
                start + i
                for i, (text, row) in enumerate(zip(part, rows))
                if is_cut(text, row, limit)
            ]
            if found.cut and not truncate:
                at = field if field == "query" else f"{field}[{found.cut[0]}]"
                raise Refusal(
                    422,
                    f"{at}: is longer than the {limit} tokens that {self.name} reads; shorten it, or leave out truncate",
                    code="too_long",
                    param=field,
                )
            tokens += sum(len(row.ids) for row in rows)
            check_tokens(tokens, most)
            found.rows += [TokenRow(row.ids, row.pool, [], row.blocks) for row in rows]
            found.texts += [(text if isinstance(text, str) else text[1])[:_SHOWN] for text in part]
        return found

    def from_ids(
        self, ids: Sequence[list[int]], *, most: int, truncate: bool = True
    ) -> TokenizedRows:
        """Make rows of token ids of the model's own vocabulary, with its special tokens.

        Ids that the tokenizer makes of a text give the same vector as the text.

        Raises:
            InputError: an id is not in the vocabulary.
            Refusal: see `tokenize`.
        """
        check_tokens(sum(map(len, ids)), most)
        reads = self.encoder.text_tokenizer()
        found = TokenizedRows([], [], [])
        for index, row in enumerate(ids):
            if min(row) < 0 or max(row) >= len(self.encoder.tokenizer):
                wrong = min(row) if min(row) < 0 else max(row)
                raise InputError(
                    f"input[{index}]: {wrong} is not a token id of {self.name} (0 to {len(self.encoder.tokenizer) - 1}); send text"
                )
            check_embedded(self.encoder.tokenizer, row, reads.rows, f"input[{index}]")
            if reads.max_length is not None and len(row) > reads.max_length:
                if not truncate:
                    raise Refusal(
                        422,
                        f"input[{index}]: has {len(row)} tokens, and {self.name} reads {reads.max_length}",
                        param="input",
                    )
                found.cut.append(index)
                row = row[: reads.max_length]
            pool = [True] * len(row)
            if (
                not reads.pool_bos
                and len(row) > 1
                and row[0] == self.encoder.tokenizer.bos_token_id
            ):
                pool[0] = False
            found.rows.append(TokenRow(row, pool, []))
            found.texts.append(f"{len(row)} token ids")
        return found


def check_tokens(tokens: int, most: int) -> None:
    """Raise Refusal (413) if a request has more tokens than one may have."""
    if tokens > most:
        raise Refusal(
            413,
            f"input: has more than {most} tokens, the most for one request; send it in parts",
            code="too_many_tokens",
            param="input",
        )


def as_texts(value: str | list[Any]) -> list[Any]:
    """Return a list of texts, for example ["a cat"] for "a cat"."""
    return [value] if isinstance(value, str) else value
