"""The token states that represent a word.

Words are joined by single blanks and tokenized as one text. A token belongs to the word with the
characters that it covers, by the character offsets that the tokenizer reports. So any tokenizer
works, and none needs to know that its input is already split. A token that covers only the blank
opens the next word (Llama's tokenizers give numbers such a token). A token that covers characters
of several words belongs to each of them.

There are two alignments, both LLM2Vec's (arXiv 2404.05961, section 3.1 and its word-level code):

- `same_token` averages the states of a word's sub-tokens.
- `next_token` reads each sub-token one position earlier, because MNTP trains the state at i-1 to
  describe token i. With tokens BOS a1 | b1 b2 | c1 the vectors are e_a = h[BOS], e_b = (h[a1] +
  h[b1]) / 2 and e_c = h[b2].

`next_token` needs a token before the first word. LLM2Vec's models have BOS there. If a tokenizer
does not put one there, the probe adds EOS (or BOS if there is no EOS). EOS separates the documents
of MNTP's training rows, so its state was trained to describe the first token of a document. With
SmolLM2-135M after a short MNTP stage, chunk accuracy on the first words of sentences is 0.87 with a
token in front (EOS or BOS alike), 0.56 if the first token keeps its own state, and 0.68 for
`same_token`.

Letters: T tokens of a sentence, W words, H hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from bothways.encoder.batch import TokenRow
from bothways.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from bothways.search.vectors import AnyEncoder

Alignment = Literal["same_token", "next_token"]


def default_alignment(encoder: AnyEncoder) -> Alignment:
    """Return `next_token` if the encoder's provenance has an MNTP stage, else `same_token`.

    The stage may be anywhere, because later stages build on it. Published LLM2Vec folders count,
    because MNTP is the first of their adapters.
    """
    provenance = getattr(encoder, "provenance", None)
    provenance = provenance if isinstance(provenance, Mapping) else {}
    stages = provenance.get("stages") or ()
    trained = provenance.get("source") == "llm2vec" and bool(stages)
    return "next_token" if trained or any(_is_mntp(stage) for stage in stages) else "same_token"


def _is_mntp(stage: object) -> bool:
    if not isinstance(stage, Mapping):
        return "mntp" in str(stage).lower()
    objective = stage.get("objective")
    if isinstance(objective, Mapping) and "kind" in objective:
        return bool(objective["kind"] == "mntp")
    return "mntp" in str(stage.get("name", "")).lower()


def join_words(words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Join words to a sentence.

    Returns:
        The text, and the characters (start, end) of each word in it. For example, `["He", "went"]`
        gives "He went" and [(0, 2), (3, 7)].
    """
    places: list[tuple[int, int]] = []
    start = 0
    for word in words:
        places.append((start, start + len(word)))
        start += len(word) + 1
    return " ".join(words), places


def tokens_of_words(
    offsets: Sequence[tuple[int, int]], places: Sequence[tuple[int, int]]
) -> list[list[int]]:
    """Find the tokens of each word, see the top of this file.

    Args:
        offsets: characters (start, end) of the T tokens. Empty spans (special tokens) belong to no
            word.
        places: characters of the W words, in order, with one blank between two.

    Returns:
        W ascending lists of token numbers. The list is empty for a word that was cut off, or that
        the tokenizer drops.
    """
    members: list[list[int]] = [[] for _ in places]
    first = 0
    for token, (start, end) in enumerate(offsets):
        if start >= end:
            continue
        # Offsets ascend, except that tokens may share one character (bytes of it). So a word that
        # ends before this token cannot get more tokens.
        while first < len(places) and places[first][1] <= start:
            first += 1
        word = first
        while word < len(places) and places[word][0] < end:
            members[word].append(token)
            word += 1
        if word == first and first < len(places):
            members[first].append(token)
    return members


def aligned(
    row: TokenRow, members: list[list[int]], alignment: Alignment, front: int | None
) -> tuple[TokenRow, list[list[int]]]:
    """Return the row to run, and the positions of the states that represent each word.

    Args:
        row: the tokenized sentence.
        members: tokens of each word.
        alignment: see the top of this file.
        front: token to put before a row that begins with a word, for `next_token`.

    Raises:
        InputError: if the row begins with a word and `front` is None.
    """
    if alignment == "same_token":
        return row, members
    if not any(0 in tokens for tokens in members):
        return row, [[token - 1 for token in tokens] for tokens in members]
    if front is None:
        raise InputError(
            "alignment next_token: the tokenizer has neither EOS nor BOS to put before the first word; use same_token"
        )
    return TokenRow([front, *row.ids], [False, *row.pool], [(0, 0), *row.offsets]), members


def front_token(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the token to put before a first word: EOS, else BOS, else None."""
    found = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.bos_token_id
    return None if found is None else int(found)


def average(states: np.ndarray, members: Sequence[Sequence[int]]) -> np.ndarray:
    """Average the states of each word: (T, H) → (W, H) float32.

    A word without tokens gets zeros.
    """
    vectors = np.zeros((len(members), states.shape[1]), dtype=np.float32)
    present = [word for word, tokens in enumerate(members) if tokens]
    if present:
        counts = np.array([len(members[word]) for word in present])
        flat = [token for word in present for token in members[word]]
        sums = np.add.reduceat(states[flat].astype(np.float32), np.cumsum(counts) - counts, axis=0)
        vectors[present] = sums / counts[:, None]
    return vectors
