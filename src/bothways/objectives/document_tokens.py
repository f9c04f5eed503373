"""Converts documents to token ids, for objectives that pack rows of text (MNTP, causal LM)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bothways.encoder.texts.embedding_rows import check_embedded
from bothways.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOGETHER = 1000
"""Texts per call of the tokenizer: enough for its threads, and small compared with all tokens."""
CHARACTERS = 4_000_000
"""The same in characters, for texts that are books. A longer text gets a call of its own."""


def tokenized_documents(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    special: bool = True,
    rows: int | None = None,
) -> Iterator[list[int]]:
    """Tokenize each document as a whole: yields its token ids.

    Args:
        texts: the documents.
        tokenizer: a fast one.
        special: add the tokenizer's special tokens.
        rows: rows of the model's embedding. A token beyond is refused. If None, tokens are not
            checked.

    Raises:
        InputError: an item is not a string, or has a token beyond the embedding. The message gives
            its index.
    """
    index = 0
    for some in _together(texts):
        # tokenizers refuse lone surrogates, so each becomes U+FFFD
        valid = [
            text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in some
        ]
        # `verbose` silences the warning about documents longer than the context, because rows are
        # cut later
        for ids in tokenizer(
            valid, add_special_tokens=special, verbose=False, return_attention_mask=False
        )["input_ids"]:
            check_embedded(tokenizer, ids, rows, f"texts[{index}]")
            index += 1
            yield ids


def end_of_document(tokenizer: PreTrainedTokenizerBase, rows: int | None) -> int | None:
    """Return EOS, which is put between two documents, or None if the tokenizer has none.

    Raises:
        InputError: an EOS beyond the model's embedding of `rows` tokens.
    """
    found: int | None = tokenizer.eos_token_id
    if found is not None:
        check_embedded(tokenizer, [found], rows, "the end of a document (eos_token)")
    return found


def _together(texts: Sequence[str]) -> Iterator[list[str]]:
    some: list[str] = []
    characters = 0
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"texts[{index}]: must be a string (got {type(text).__name__})")
        if some and (len(some) == TOGETHER or characters + len(text) > CHARACTERS):
            yield some
            some, characters = [], 0
        some.append(text)
        characters += len(text)
    if some:
        yield some
