"""Texts and instructions to token rows with an exact pool mask.

The boundary between instruction and text is a character position in the joined string, and the pool mask follows from the character
offsets that the tokenizer reports. Counting the tokens of the instruction alone, as LLM2Vec and sentence-transformers do, is off
wherever the tokenizer merges across the boundary (a trailing blank, scripts without spaces) or adds special tokens.

Rules:
- With an instruction, pooling starts at the first token that holds a character of the text; BOS and the instruction are seen, never
  pooled (LLM2Vec §3; NV-Embed §3.2). What follows the text (chat suffix, EOS) is pooled, as in LLM2Vec's and NVIDIA's code.
- Without one, every token is pooled, BOS only if `pool_bos`.
- Truncation drops tokens at the end of the text; instruction, wrapper and special tokens stay.
- A text without any token (the empty string) is represented by one stand-in token, EOS else BOS else padding, so that its vector is
  defined and never that of the instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from bothways.encoder.batch import TokenRow
from bothways.errors import InputError

Text = str | tuple[str, str]


@dataclass(frozen=True)
class Wrapper:
    """Chat wrapping of every input: `prefix + instruction + text + suffix`, e.g. ("[INST] ", " [/INST]")."""

    prefix: str = ""
    suffix: str = ""


class TextTokenizer:
    """Turns texts into `TokenRow`s.

    Args:
        tokenizer: a fast transformers tokenizer; its own rules decide on BOS and EOS.
        max_length: tokens per text at most, special tokens and instruction included; None for no limit.
        pool_bos: whether a BOS token is pooled when no instruction stands before the text.
        wrapper: chat wrapping, none by default.

    Raises:
        InputError: a tokenizer without character offsets (a "slow" one).
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int | None = None,
        pool_bos: bool = True,
        wrapper: Wrapper | None = None,
    ) -> None:
        if not tokenizer.is_fast:
            raise InputError(
                f"tokenizer {type(tokenizer).__name__} reports no character offsets; use the fast (tokenizer.json) version"
            )
        if max_length is not None and max_length < 1:
            raise InputError(f"max_length: must be at least 1 token (got {max_length})")
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.pool_bos = pool_bos
        self.wrapper = wrapper or Wrapper()

    @property
    def stand_in(self) -> int:
        """The token that represents a text without tokens."""
        for token in (self.tokenizer.eos_token_id, self.tokenizer.bos_token_id, self.tokenizer.pad_token_id):
            if token is not None:
                return int(token)
        raise InputError("tokenizer: has neither EOS, BOS nor padding token to stand in for an empty text; set one of them")

    def __call__(
        self, texts: Sequence[Text], *, prompt: str | None = None, max_length: int | None = None, first: int = 0
    ) -> list[TokenRow]:
        """Tokenise.

        Args:
            texts: each a string, or a pair (instruction, text).
            prompt: instruction of every text that brings none.
            max_length: overrides the tokenizer's for this call.
            first: index of the first text in the caller's list, for error messages.

        Raises:
            InputError: an item that is neither, naming its index; an instruction that leaves no room for the text.
        """
        limit = self.max_length if max_length is None else max_length
        pairs = [self._pair(item, prompt, first + i) for i, item in enumerate(texts)]
        joined = [self.wrapper.prefix + head + body + self.wrapper.suffix for head, body in pairs]
        encodings = self._encode(joined)
        return [
            self._row(encoding, len(self.wrapper.prefix) + len(head), len(body), bool(head), limit, first + i)
            for i, (encoding, (head, body)) in enumerate(zip(encodings, pairs))
        ]

    def _encode(self, joined: list[str]) -> list[Any]:
        backend = self.tokenizer.backend_tokenizer
        # A tokenizer.json may carry truncation or padding from its last use; both would cut or pool what we decide on here.
        backend.no_truncation()
        backend.no_padding()
        return backend.encode_batch(joined)

    @staticmethod
    def _pair(item: Text, prompt: str | None, index: int) -> tuple[str, str]:
        head, body = item if isinstance(item, tuple) and len(item) == 2 else (prompt or "", item)
        for value in (head, body):
            if not isinstance(value, str):
                raise InputError(
                    f"texts[{index}]: must be a string or a pair (instruction, text) of strings (got {type(value).__name__})"
                )
        return _valid(head), _valid(body)

    def _row(self, encoding: Any, start: int, length: int, instructed: bool, limit: int | None, index: int) -> TokenRow:
        ids, special = list(encoding.ids), encoding.special_tokens_mask
        spans = list(encoding.offsets)
        end = start + length
        inside = [not special[i] and a < end and b > start for i, (a, b) in enumerate(spans)]
        if not any(inside):
            # after the instruction and before any suffix: the place where the text would have been
            place = next((i for i, (a, _) in enumerate(spans) if not special[i] and a >= end), self._tail(special))
            ids.insert(place, self.stand_in)
            spans.insert(place, (start, start))
            inside.insert(place, True)
        begin = inside.index(True)
        finish = len(inside) - inside[::-1].index(True)
        if limit is not None and len(ids) > limit:
            kept = finish - (len(ids) - limit)
            if kept <= begin:
                raise InputError(
                    f"texts[{index}]: max_length {limit} leaves no token for the text after instruction and special tokens "
                    f"({len(ids) - (finish - begin)} tokens); shorten the instruction or raise max_length"
                )
            del ids[kept:finish], spans[kept:finish], inside[kept:finish]
        if instructed or self.wrapper.prefix:
            pool = [i >= begin for i in range(len(ids))]
        else:
            pool = [True] * len(ids)
            if not self.pool_bos and len(ids) > 1 and not inside[0] and ids[0] == self.tokenizer.bos_token_id:
                pool[0] = False
        offsets = [(max(a, start) - start, min(b, end) - start) if kept else (0, 0) for (a, b), kept in zip(spans, inside)]
        return TokenRow(ids, pool, offsets)

    @staticmethod
    def _tail(special: Sequence[int]) -> int:
        """Index before the special tokens that close the row."""
        place = len(special)
        while place > 0 and special[place - 1] and place > 1:
            place -= 1
        return place


def _valid(text: str) -> str:
    """The text with lone surrogates, which no tokenizer takes, replaced one for one by U+FFFD, so that offsets keep."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    return text
