"""Texts and instructions to token rows with an exact pool mask.

The boundary between instruction and text is a character position in the joined string, and the pool mask follows from the character
offsets that the tokenizer reports. Counting the tokens of the instruction alone, as LLM2Vec and sentence-transformers do, is off
wherever the tokenizer merges across the boundary (a trailing blank, scripts without spaces) or adds special tokens.

Rules:
- With an instruction, pooling starts at the first token that holds a character of the text; BOS and the instruction are seen, never
  pooled (LLM2Vec §3; NV-Embed §3.2). What follows the text (chat suffix, EOS) is pooled, as in LLM2Vec's and NVIDIA's code.
- Without one, every token is pooled, BOS only if `pool_bos`.
- An instruction that holds `{text}` is a template: what follows the text there is tokenised by itself, so that it is the same tokens
  behind every text (LLaRA reads its vectors off them), it is pooled, and ends the row: closing special tokens are left out. `{eos}`
  in it is the tokenizer's EOS.
- Truncation drops tokens at the end of the text; instruction, wrapper, template and special tokens stay.
- Where nothing is left to pool (an empty text that no EOS or suffix follows), one token stands in for the text: EOS, else BOS, else
  padding. So its vector is defined, and never that of the instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from bothways.encoder.batch import TokenRow
from bothways.encoder.text_prefix import TextPrefix
from bothways.errors import InputError

Text = str | tuple[str, str] | list[str]
"""A text, or a pair (instruction, text) as a tuple or a list, as LLM2Vec writes pairs."""

SLOT = "{text}"
"""Where the text stands in an instruction that is a template."""
EOS = "{eos}"
"""In a template: the tokenizer's EOS token."""
ENDING = 1024
"""Characters of a long text's end that are kept when a wrapper's suffix may merge with them."""


def is_template(instruction: str) -> bool:
    """Whether an instruction says where the text stands, instead of coming before it."""
    return SLOT in instruction


@dataclass(frozen=True)
class Wrapper:
    """Chat wrapping of every input: `prefix + instruction + joint + text + suffix`, e.g. ("[INST] ", " [/INST]", " ").

    Args:
        prefix: before everything.
        suffix: after the text.
        joint: what separates instruction and text, in place of white space at the instruction's end. White space between the text and a
            suffix falls away as well, as LLM2Vec strips it, so "a cat" and "a cat " are one vector. "" leaves all of it as given.
    """

    prefix: str = ""
    suffix: str = ""
    joint: str = ""

    def before(self, instruction: str) -> str:
        """What stands before the text."""
        if instruction.strip() and self.joint:
            instruction = instruction.rstrip() + self.joint
        return self.prefix + instruction


class Frame(NamedTuple):
    """What stands around a text.

    before: in front of it. joined: behind it, tokenised with it. closing: ids that end the row, tokenised by themselves.
    """

    before: str
    joined: str
    closing: list[int]


class TextTokenizer:
    """Turns texts into `TokenRow`s.

    Args:
        tokenizer: a fast transformers tokenizer; its own rules decide on BOS and EOS.
        max_length: tokens per text at most, special tokens and instruction included; None for no limit.
        pool_bos: whether a BOS token is pooled when no instruction stands before the text.
        pool_prompt: pool the instruction too, for encoders that were trained so (sentence-transformers' `include_prompt`).
        stock_prompts: leave out as many tokens as the instruction has by itself, see `stock_tokens`.
        wrapper: chat wrapping, none by default.
        rows: of the model's embedding, see `embedding_rows`; a token beyond is refused, by name. None checks nothing.

    Raises:
        InputError: a tokenizer without character offsets (a "slow" one).
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

    def __call__(
        self, texts: Sequence[Text], *, prompt: str | None = None, max_length: int | None = None, first: int = 0
    ) -> list[TokenRow]:
        """Tokenise.

        Args:
            texts: each a string, or a pair (instruction, text), as a tuple or a list.
            prompt: instruction of every text that brings none.
            max_length: overrides the tokenizer's for this call.
            first: index of the first text in the caller's list, for error messages.

        Raises:
            InputError: an item that is neither, naming its index; an instruction that leaves no room for the text.
        """
        limit = self.max_length if max_length is None else _positive(max_length)
        pairs = [_pair(item, prompt, first + i) for i, item in enumerate(texts)]
        if self.wrapper.suffix and self.wrapper.joint:
            pairs = [(head, body if is_template(head) else body.rstrip()) for head, body in pairs]
        frames = {head: self.frame(head) for head in dict.fromkeys(head for head, _ in pairs)}
        encodings = self._encode([(frames[head].before, body, frames[head].joined) for head, body in pairs], limit)
        rows = [
            self._row(encoding, len(frames[head].before), length, limit, first + i, frames[head].closing)
            for i, ((encoding, length), (head, _)) in enumerate(zip(encodings, pairs))
        ]
        if self.stock_prompts and not self.pool_prompt:
            counts = {head: len(stock_tokens(self.tokenizer, head)) for head in frames if head and not is_template(head)}
            for row, (head, _) in zip(rows, pairs):
                out = counts.get(head, 0)
                if 0 < out < len(row.ids):  # where nothing would be left, the text itself is pooled
                    row.pool[:] = [False] * out + [True] * (len(row.ids) - out)
        return rows

    def frame(self, instruction: str) -> Frame:
        """What stands around a text under this instruction.

        Raises:
            InputError: a template with two places for the text, or one that ends with the EOS of a tokenizer without any.
        """
        if not is_template(instruction):
            return Frame(self.wrapper.before(instruction), self.wrapper.suffix, [])
        before, after = instruction.split(SLOT, 1)
        if SLOT in after:
            raise InputError(f"prompt {instruction[:60]!r}: {SLOT} stands there twice; a template has one place for the text")
        parts = [before, after + self.wrapper.suffix]
        for i, part in enumerate(parts):
            if EOS in part:
                if self.tokenizer.eos_token is None:
                    raise InputError(f"prompt {instruction[:60]!r}: {EOS} needs an EOS token, and the tokenizer has none")
                parts[i] = part.replace(EOS, self.tokenizer.eos_token)
        closing = self._backend().encode(parts[1], add_special_tokens=False).ids if parts[1] else []
        return Frame(self.wrapper.prefix + parts[0], "", closing)

    def _encode(self, parts: list[tuple[str, str, str]], limit: int | None) -> list[tuple[Any, int]]:
        """For each (before, text, suffix): the encoding, and how many characters stand for the text in it.

        Of a text far longer than `limit` tokens only a beginning is encoded, of which the first `limit` tokens are proved to be
        those of the whole text (`encoder.text_prefix`). So its row is the same, and its cost does not grow with its length.
        """
        shortened = [_shorten(text, _beginning(limit), bool(suffix)) for _, text, suffix in parts]
        encodings = self._backend().encode_batch([b + text + s for (b, _, s), (text, _) in zip(parts, shortened)])
        found = []
        for (before, text, suffix), (short, cut), encoding in zip(parts, shortened, encodings):
            while len(short) < len(text) and not self._same(encoding, before, short, cut, suffix, limit or 0):
                short, cut = _shorten(text, 4 * cut, bool(suffix))
                encoding = self._backend().encode(before + short + suffix)
            found.append((encoding, len(short)))
        return found

    def _same(self, encoding: Any, before: str, short: str, cut: int, suffix: str, limit: int) -> bool:
        """Whether a shortened text's row is surely that of the whole text, whose own beginning ends after `cut` characters."""
        prefix, start = TextPrefix.of(self.tokenizer), len(before)
        opened = next((i for i, (_, b) in enumerate(encoding.offsets) if b > start), None)
        if opened is None or not prefix.proved(encoding, before + short, start + cut, max(limit, opened) + 1):
            return False
        return prefix.stands_apart(suffix) or prefix.ended(encoding, start + cut)

    def _backend(self) -> Any:
        backend = self.tokenizer.backend_tokenizer
        # A tokenizer.json may carry truncation or padding from its last use; both would cut or pool what we decide on here.
        backend.no_truncation()
        backend.no_padding()
        return backend

    def _row(
        self, encoding: Any, start: int, length: int, limit: int | None, index: int, closing: Sequence[int] = ()
    ) -> TokenRow:
        """The row of one joined string whose text has `length` characters from character `start` on, and what closes it."""
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
        offsets = [(max(a, start) - start, min(b, end) - start) if own else (0, 0) for (a, b), own in zip(spans, inside)]
        return TokenRow(ids, pool, offsets)

    def _pool(self, ids: list[int], begin: int, preceded: bool) -> list[bool]:
        """Which tokens are pooled, where the text's first token is number `begin`."""
        if preceded and not self.pool_prompt:
            return [False] * begin + [True] * (len(ids) - begin)
        pool = [True] * len(ids)
        if not self.pool_bos and begin > 0 and ids[0] == self.tokenizer.bos_token_id:
            pool[0] = False
        return pool

    def _place(self, ids: list[int], spans: list[tuple[int, int]], special: Sequence[int], end: int) -> int:
        """Where the first token of a text without tokens would stand: before the suffix and the special tokens that close the row."""
        opening = 1 if ids and ids[0] in (self.tokenizer.bos_token_id, self.tokenizer.cls_token_id) else 0
        place = len(ids)
        while place > opening and (special[place - 1] or spans[place - 1][0] >= end):
            place -= 1
        return place

    def _stand_in(self) -> int:
        for token in (self.tokenizer.eos_token_id, self.tokenizer.bos_token_id, self.tokenizer.pad_token_id):
            if token is not None:
                return int(token)
        raise InputError("tokenizer: has neither EOS, BOS nor padding token to stand in for an empty text; set one of them")


def stock_tokens(tokenizer: Any, prompt: str) -> list[int]:
    """What sentence-transformers takes for the tokens of a prompt: those of the prompt alone, without a closing special token.

    It takes any special token at the end for one that the tokenizer added, even the prompt's own.
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


def is_pair(item: Any) -> bool:
    """Whether an item is a pair (instruction, text), by its shape; its parts may still be no strings."""
    return isinstance(item, (tuple, list)) and len(item) == 2


def _beginning(limit: int | None) -> int | None:
    """Characters of a text's beginning that hold `limit` tokens in most languages, and what the proof needs behind them."""
    return None if limit is None else 8 * limit + 2048


def _shorten(text: str, characters: int | None, with_end: bool) -> tuple[str, int]:
    """A text's first `characters`, `with_end` its last ones too: (shortened, length of its beginning). Whole unless much longer."""
    if characters is None or len(text) <= 2 * characters + ENDING:
        return text, len(text)
    return text[:characters] + (text[-ENDING:] if with_end else ""), characters


def embedding_rows(backbone: Any) -> int | None:
    """Rows of a model's embedding: token ids lie below. None for a model that does not tell."""
    find = getattr(backbone, "get_input_embeddings", None)
    weight = getattr(find(), "weight", None) if find is not None else None
    if weight is not None:
        return len(weight)
    config = getattr(backbone, "config", None)
    return None if config is None else getattr(config.get_text_config(), "vocab_size", None)


def check_embedded(tokenizer: Any, ids: Sequence[int], rows: int | None, where: str) -> None:
    """Raise InputError for a token that the model has no embedding for: one added to the tokenizer, and not to the model.

    Args:
        tokenizer: names the token.
        ids: of a text.
        rows: of the model's embedding; None checks nothing.
        where: opens the line.
    """
    if rows is not None and ids and max(ids) >= rows:
        beyond = max(ids)
        raise InputError(
            f"{where}: the token {tokenizer.convert_ids_to_tokens(beyond)!r} has number {beyond}, and the model embeds {rows} "
            f"(0 to {rows - 1}); give the tokenizer that belongs to the model, or the model with its embedding resized"
        )


def _positive(max_length: int | None) -> int | None:
    if max_length is not None and (not isinstance(max_length, Integral) or max_length < 1):
        raise InputError(f"max_length: must be a whole number of tokens, at least 1 (got {max_length!r:.60})")
    return max_length


def _extents(offsets: Sequence[tuple[int, int]], special: Sequence[int]) -> list[tuple[int, int]]:
    """Characters of each token.

    Byte-level tokenizers that trim blanks off their offsets report a token of nothing but blanks as an empty span at its end; it
    gets back the characters since the token before it.
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
    """The text with lone surrogates, which no tokenizer takes, replaced one for one by U+FFFD, so that offsets keep."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    return text
