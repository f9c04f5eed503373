"""Converts texts and instructions to token rows with an exact pool mask.

The boundary between instruction and text is a character position in the joined string. The pool
mask follows from the character offsets that the tokenizer reports. LLM2Vec and
sentence-transformers count the tokens of the instruction alone. That is wrong if the tokenizer
merges across the boundary (a trailing blank, scripts without spaces) or adds special tokens.

Rules:
- With an instruction, pooling starts at the first token that contains a character of the text. BOS
  and the instruction are seen but never pooled (LLM2Vec §3, NV-Embed §3.2). Tokens after the text
  (chat suffix, EOS) are pooled, as in LLM2Vec's and NVIDIA's code.
- Without an instruction, every token is pooled, BOS only if `pool_bos`.
- An instruction that contains `{text}` is a template, for example "Text: {text} Summary:{eos}". The
  part after `{text}` is tokenized by itself, so that it has the same tokens after every text (LLaRA
  reads its vectors there). It is pooled, and it ends the row without closing special tokens.
  `{eos}` is the tokenizer's EOS.
- Truncation drops tokens at the end of the text. Instruction, wrapper, template and special tokens
  stay.
- If nothing is left to pool (an empty text without EOS or suffix), one token takes the place of the
  text: EOS, else BOS, else padding. So its vector is defined, and never that of the instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerBase

from bothways.encoder.batch import TokenRow
from bothways.encoder.texts.embedding_rows import check_embedded
from bothways.encoder.texts.text_prefix import TextPrefix
from bothways.encoder.texts.wrapping import EOS, SLOT, Frame, Wrapper, is_template
from bothways.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Text = str | tuple[str, str] | list[str]
"""A text, or a pair (instruction, text) as a tuple or a list, as LLM2Vec writes pairs."""

ENDING = 1024
"""Characters at the end of a long text that are kept if a wrapper's suffix may merge with them."""


class TextTokenizer:
    """Converts texts to `TokenRow`s.

    Args:
        tokenizer: a fast transformers tokenizer. Its own rules decide on BOS and EOS.
        max_length: maximum number of tokens per text, with special tokens and instruction. If None,
            there is no limit.
        pool_bos: whether a BOS token is pooled if no instruction precedes the text.
        pool_prompt: pool the instruction too, for encoders that were trained in this way
            (sentence-transformers' `include_prompt`).
        stock_prompts: leave out as many tokens as the instruction has by itself, see
            `stock_tokens`.
        wrapper: chat wrapping. If None, there is none.
        rows: rows of the model's embedding, see `embedding_rows`. Tokens beyond are refused by
            name. If None, tokens are not checked.
        most: number of positions in the model's table. No text is longer. If None, there is no
            table.

    Raises:
        InputError: the tokenizer has no character offsets (a "slow" one).
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int | None = None,
        pool_bos: bool = True,
        pool_prompt: bool = False,
        stock_prompts: bool = False,
        wrapper: Wrapper | None = None,
        rows: int | None = None,
        most: int | None = None,
    ) -> None:
        if not tokenizer.is_fast:
            raise InputError(
                f"tokenizer {type(tokenizer).__name__} reports no character offsets; use the fast (tokenizer.json) version"
            )
        self.tokenizer = tokenizer
        self.max_length = _positive(max_length)
        self.pool_bos = pool_bos
        self.pool_prompt = pool_prompt
        self.stock_prompts = stock_prompts
        self.wrapper = wrapper or Wrapper()
        self.rows = rows
        self.most = most

    def __call__(
        self,
        texts: Sequence[Text],
        *,
        prompt: str | None = None,
        max_length: int | None = None,
        first: int = 0,
    ) -> list[TokenRow]:
        """Tokenize texts.

        Args:
            texts: each a string, or a pair (instruction, text) as a tuple or a list.
            prompt: instruction of every text that has none of its own.
            max_length: overrides the tokenizer's for this call.
            first: index of the first text in the caller's list, for error messages.

        Raises:
            InputError: an item has another form (the message gives its index), or an instruction
                leaves no room for the text.
        """
        limit = least(self.max_length if max_length is None else _positive(max_length), self.most)
        pairs = [_pair(item, prompt, first + i) for i, item in enumerate(texts)]
        if self.wrapper.suffix and self.wrapper.joint:
            pairs = [(head, body if is_template(head) else body.rstrip()) for head, body in pairs]
        frames = {head: self.frame(head) for head in dict.fromkeys(head for head, _ in pairs)}
        encodings = self._encode(
            [(frames[head].before, body, frames[head].joined) for head, body in pairs], limit
        )
        rows = [
            self._row(
                encoding, len(frames[head].before), length, limit, first + i, frames[head].closing
            )
            for i, ((encoding, length), (head, _)) in enumerate(zip(encodings, pairs))
        ]
        if self.stock_prompts and not self.pool_prompt:
            counts = {
                head: len(stock_tokens(self.tokenizer, head))
                for head in frames
                if head and not is_template(head)
            }
            for row, (head, _) in zip(rows, pairs):
                out = counts.get(head, 0)
                if 0 < out < len(row.ids):  # if nothing would be left, pool the text itself
                    row.pool[:] = [False] * out + [True] * (len(row.ids) - out)
        return rows

    def frame(self, instruction: str) -> Frame:
        """Build the parts around a text for an instruction, for example "Find:" or "{text}{eos}".

        Raises:
            InputError: a template has two places for the text, or contains `{eos}` although the
                tokenizer has no EOS.
        """
        if not is_template(instruction):
            return Frame(self.wrapper.before(instruction), self.wrapper.suffix, [])
        before, after = instruction.split(SLOT, 1)
        if SLOT in after:
            raise InputError(
                f"prompt {instruction[:60]!r}: {SLOT} appears twice; a template has one place for the text"
            )
        parts = [before, after + self.wrapper.suffix]
        for i, part in enumerate(parts):
            if EOS in part:
                if self.tokenizer.eos_token is None:
                    raise InputError(
                        f"prompt {instruction[:60]!r}: {EOS} needs an EOS token, but the tokenizer has none"
                    )
                parts[i] = part.replace(EOS, self.tokenizer.eos_token)
        closing = self._backend().encode(parts[1], add_special_tokens=False).ids if parts[1] else []
        return Frame(self.wrapper.prefix + parts[0], "", closing)

    def _encode(
        self, parts: list[tuple[str, str, str]], limit: int | None
    ) -> list[tuple[Any, int]]:
        """Encode each (before, text, suffix). Also returns how many characters of the text it used.

        Of a text far longer than `limit` tokens, only a beginning is encoded. Its first `limit`
        tokens are proved to be those of the whole text (`encoder.texts.text_prefix`). So the row is
        the same, and the cost does not grow with the length.
        """
        shortened = [_shorten(text, _beginning(limit), bool(suffix)) for _, text, suffix in parts]
        encodings = self._backend().encode_batch(
            [b + text + s for (b, _, s), (text, _) in zip(parts, shortened)]
        )
        found = []
        for (before, text, suffix), (short, cut), encoding in zip(parts, shortened, encodings):
            while len(short) < len(text) and not self._same(
                encoding, before, short, cut, suffix, limit or 0
            ):
                short, cut = _shorten(text, 4 * cut, bool(suffix))
                encoding = self._backend().encode(before + short + suffix)
            found.append((encoding, len(short)))
        return found

    def _same(
        self, encoding: Encoding, before: str, short: str, cut: int, suffix: str, limit: int
    ) -> bool:
        """Return whether a shortened text's row is proved to be that of the whole text.

        Its first `cut` characters are those of the whole text.
        """
        prefix, start = TextPrefix.of(self.tokenizer), len(before)
        opened = next((i for i, (_, b) in enumerate(encoding.offsets) if b > start), None)
        if opened is None or not prefix.proved(
            encoding, before + short, start + cut, max(limit, opened) + 1
        ):
            return False
        return prefix.stands_apart(suffix) or prefix.ended(encoding, start + cut)

    def _backend(self) -> Tokenizer:
        backend: Tokenizer = self.tokenizer.backend_tokenizer
        # A tokenizer.json may contain truncation or padding from its last use, which would
        # interfere here.
        backend.no_truncation()
        backend.no_padding()
        return backend

    def _row(
        self,
        encoding: Encoding,
        start: int,
        length: int,
        limit: int | None,
        index: int,
        closing: Sequence[int] = (),
    ) -> TokenRow:
        """Build the row of one joined string and of the closing ids.

        Its text has `length` characters from character `start` on.
        """
        ids, special = list(encoding.ids), list(encoding.special_tokens_mask)
        spans = _extents(encoding.offsets, special)
        end = start + length
        if closing:
            kept = self._place(ids, spans, special, end)
            del ids[kept:], special[kept:], spans[kept:]
        inside = [a < end and b > start and not hidden for (a, b), hidden in zip(spans, special)]
        if True in inside:
            begin = inside.index(True)
            finish = len(inside) - inside[::-1].index(True)
        else:
            begin = finish = self._place(ids, spans, special, end)
        pool = self._pool(ids, begin, start > 0)
        if closing:
            ids += closing
            spans += [(end, end)] * len(closing)
            inside += [False] * len(closing)
            pool += [True] * len(closing)
        if True not in pool:
            ids.insert(begin, self._stand_in())
            spans.insert(begin, (start, start))
            inside.insert(begin, True)
            pool.insert(begin, True)
            finish = begin + 1
        if limit is not None and len(ids) > limit:
            kept = finish - (len(ids) - limit)
            if kept <= begin:
                raise InputError(
                    f"texts[{index}]: max_length {limit} leaves no token for the text after instruction and special tokens "
                    f"({len(ids) - (finish - begin)} tokens); shorten the instruction or raise max_length"
                )
            del ids[kept:finish], spans[kept:finish], inside[kept:finish], pool[kept:finish]
        check_embedded(self.tokenizer, ids, self.rows, f"texts[{index}]")
        offsets = [
            (max(a, start) - start, min(b, end) - start) if own else (0, 0)
            for (a, b), own in zip(spans, inside)
        ]
        return TokenRow(ids, pool, offsets)

    def _pool(self, ids: list[int], begin: int, preceded: bool) -> list[bool]:
        """Build the pool mask of a row whose text begins at token number `begin`."""
        if preceded and not self.pool_prompt:
            return [False] * begin + [True] * (len(ids) - begin)
        pool = [True] * len(ids)
        if not self.pool_bos and begin > 0 and ids[0] == self.tokenizer.bos_token_id:
            pool[0] = False
        return pool

    def _place(
        self, ids: list[int], spans: list[tuple[int, int]], special: Sequence[int], end: int
    ) -> int:
        """Find the place for the first token of a text without tokens.

        It is before the suffix and the special tokens that close the row.
        """
        opening = (
            1 if ids and ids[0] in (self.tokenizer.bos_token_id, self.tokenizer.cls_token_id) else 0
        )
        place = len(ids)
        while place > opening and (special[place - 1] or spans[place - 1][0] >= end):
            place -= 1
        return place

    def _stand_in(self) -> int:
        for token in (
            self.tokenizer.eos_token_id,
            self.tokenizer.bos_token_id,
            self.tokenizer.pad_token_id,
        ):
            if token is not None:
                return int(token)
        raise InputError(
            "tokenizer: has no EOS, BOS or padding token to represent an empty text; set one of them"
        )


def stock_tokens(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Return the tokens that sentence-transformers counts as those of a prompt.

    These are the tokens of the prompt alone, without a closing special token. It assumes that the
    tokenizer added any special token at the end, even if it is the prompt's own.
    """
    ids = list(tokenizer(prompt)["input_ids"])
    return ids[:-1] if ids and ids[-1] in tokenizer.all_special_ids else ids


def _pair(item: Any, prompt: str | None, index: int) -> tuple[str, str]:
    head, body = item if is_pair(item) else (prompt or "", item)
    for value in (head, body):
        if not isinstance(value, str):
            raise InputError(
                f"texts[{index}]: must be a string or a pair (instruction, text) of strings (got {type(value).__name__})"
            )
    return _valid(head), _valid(body)


def is_pair(item: object) -> bool:
    """Return whether an item has the form of a pair. Its parts may still not be strings."""
    return isinstance(item, (tuple, list)) and len(item) == 2


def _beginning(limit: int | None) -> int | None:
    """Return how many characters usually hold `limit` tokens, plus some for the proof."""
    return None if limit is None else 8 * limit + 2048


def _shorten(text: str, characters: int | None, with_end: bool) -> tuple[str, int]:
    """Shorten a text to its first `characters`. If `with_end`, also keep its last ones.

    Returns the shortened text and the length of its beginning. A text that is not much longer is
    kept whole.
    """
    if characters is None or len(text) <= 2 * characters + ENDING:
        return text, len(text)
    return text[:characters] + (text[-ENDING:] if with_end else ""), characters


def least(*limits: int | None) -> int | None:
    """Return the smallest of the limits that are there; None if there is none."""
    return min((each for each in limits if each is not None), default=None)


def _positive(max_length: int | None) -> int | None:
    if max_length is not None and (not isinstance(max_length, Integral) or max_length < 1):
        raise InputError(
            f"max_length: must be a whole number of tokens, at least 1 (got {max_length!r:.60})"
        )
    return max_length


def _extents(offsets: Sequence[tuple[int, int]], special: Sequence[int]) -> list[tuple[int, int]]:
    """Return the characters of each token.

    Byte-level tokenizers that trim blanks from their offsets report a token that is only blanks as
    an empty span at its end. Such a token gets the characters since the token before it.
    """
    spans = list(offsets)
    before = 0
    for i, (a, b) in enumerate(offsets):
        if special[i]:
            continue
        if a == b and before < b:
            spans[i] = (before, b)
        before = max(before, b)
    return spans


def _valid(text: str) -> str:
    """Replace lone surrogates, which tokenizers refuse, one for one by U+FFFD, so offsets stay."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    return text
