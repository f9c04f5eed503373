"""Counts the tokens that are proved inside a word that is cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bothways.encoder.long_words.first_tokens import FirstTokens
from bothways.encoder.long_words.open_piece import Piece, open_piece

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

_MARGIN = 16
"""Characters at the end of the normalized beginning that are not trusted. The last letter may have
another form if its marks or its neighbor are cut off."""
_MOST_CHARACTERS = 200_000


class LongWord:
    """The proof inside a word, for one tokenizer.

    Args:
        backend: a tokenizer of the tokenizers library.
        stages: its pre-tokenizers in their order, as JSON objects.
    """

    def __init__(self, backend: Tokenizer, stages: Sequence[dict[str, Any]]) -> None:
        self._backend = backend
        self._stages = stages
        self._added = {
            number: each.content.strip()
            for number, each in backend.get_added_tokens_decoder().items()
        }
        self._first = FirstTokens(backend)

    def proves(self, encoding: Encoding, text: str, cut: int, edge: int, wanted: int) -> bool:
        """Return whether no text behind the cut can change the first `wanted` tokens.

        Args:
            encoding: encoding of `text`, with special tokens.
            text: begins with `cut` characters of a longer text.
            cut: number of these characters.
            edge: place before the cut that no normalizer and no added token behind it can reach.
            wanted: number of tokens, with special tokens in front.
        """
        if not self._first.usable or edge > _MOST_CHARACTERS or len(encoding.ids) < wanted:
            return False
        index, start = self._last_section(encoding, text, edge)
        known = self._normalized(text[start:edge])[:-_MARGIN]
        beginning = self._normalized(text[start:cut])
        if not known or not beginning.startswith(known):
            return False
        piece = open_piece(self._stages, known, len(known))
        if piece is None:
            return False
        closed, opened = self._words(beginning, known, piece)
        proved: list[int] = []
        for word in closed:
            proved += [token.id for token in self._backend.model.tokenize(word)]
            if index + len(proved) >= wanted:
                break
        else:
            proved += self._first.of(opened)
        return index + len(proved) >= wanted and encoding.ids[index : index + len(proved)] == proved

    def _last_section(self, encoding: Encoding, text: str, edge: int) -> tuple[int, int]:
        """Find the section behind the last added token before the edge: first token and character.

        Added tokens are cut out first. The sections between them are tokenized by themselves.
        """
        ids, offsets = encoding.ids, encoding.offsets
        before = None
        for place in range(len(ids) - 1, -1, -1):
            begin, end = offsets[place]
            # an unknown token or a byte may be in the list of added tokens too, but is spelled
            # otherwise
            if begin < end <= edge and self._added.get(ids[place]) == text[begin:end].strip():
                before = place
                break
        first = 0 if before is None else before + 1
        while first < len(ids) and encoding.word_ids[first] is None:
            first += 1
        return first, 0 if before is None else offsets[before][1]

    def _normalized(self, text: str) -> str:
        return (
            text
            if self._backend.normalizer is None
            else self._backend.normalizer.normalize_str(text)
        )

    def _words(self, beginning: str, known: str, piece: Piece) -> tuple[list[str], str]:
        """List the words before the open piece, and the certain part of the open one.

        They are as the model reads them. The certain part is "" if it cannot be told.
        """
        words = self._split(beginning)
        number = next(
            (i for i, (_, span) in enumerate(words) if span[0] == piece[0] < span[1]), None
        )
        if number is None:
            return [], ""
        opened, span = self._split(known[: piece[1]])[-1]
        told = span == piece and words[number][0].startswith(opened)
        return [word for word, _ in words[:number]], opened if told else ""

    def _split(self, text: str) -> list[tuple[str, tuple[int, int]]]:
        splitter = self._backend.pre_tokenizer
        found: list[tuple[str, tuple[int, int]]] = (
            splitter.pre_tokenize_str(text) if splitter else [(text, (0, len(text)))]
        )
        return found
