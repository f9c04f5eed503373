"""Documents to token ids, for objectives that pack rows of text (MNTP, causal language modelling)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bothways.errors import InputError

TOGETHER = 1000
"""Texts handed to the tokenizer at once: enough for its threads, little beside the tokens themselves."""
CHARACTERS = 4_000_000
"""The same in characters, for texts that are books; a longer one is handed over alone."""


def tokenised(texts: Sequence[str], tokenizer: Any, *, special: bool = True) -> Iterator[list[int]]:
    """Token ids of each document, whole.

    Args:
        texts: the documents.
        tokenizer: a fast one.
        special: with the special tokens that the tokenizer adds of itself.

    Raises:
        InputError: an item that is no string, naming its index.
    """
    for some in _together(texts):
        # tokenizers refuse lone surrogates; each becomes U+FFFD
        valid = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in some]
        # `verbose` silences the warning that a document exceeds the model's context: rows are cut afterwards
        yield from tokenizer(valid, add_special_tokens=special, verbose=False, return_attention_mask=False)["input_ids"]


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
