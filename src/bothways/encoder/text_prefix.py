"""How many of the tokens of a text's beginning are those of the whole text.

A text of 8 MB costs a tokenizer gigabytes and half a minute, and an encoder reads its first 512 tokens. So only a beginning of the
text is tokenized, and this file says which of its tokens are proved to be the same with the rest of the text behind them.

The proof has two forms, and both rest on one fact: a tokenizer reads from left to right, and looks ahead a limited way.

1. *Words.* Most tokenizers split a text first and tokenize each piece by itself. A piece of the beginning is a piece of the whole text
   if it ends so far before the cut that no rule which looks ahead from it can see the cut (`split_patterns`).
2. *Joints.* Where pieces are as long as the text (SentencePiece without splitting, scripts without blanks), a joint between two tokens
   stays if no entry of the vocabulary could stand across it: then no merge of BPE ever crosses it, and every path of a Unigram
   model goes through it. What stands on its left is then tokenized as if the text ended there.

Where neither holds, for example inside one word of a million equal letters, or under rules that this file does not know, nothing
is proved and the caller tokenizes the whole text.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from bothways.encoder.split_patterns import Reach, Stops, reach

_LOCAL_NORMALIZERS = {
    "BertNormalizer",
    "ByteLevel",
    "Lowercase",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Nmt",
    "Precompiled",
    "Prepend",
    "Strip",
    "StripAccents",
}
"""Their result for a character depends on its grapheme alone, or on being first or last."""
_LOCAL_SPLITTERS = {
    "BertPreTokenizer",
    "CharDelimiterSplit",
    "Digits",
    "FixedLength",
    "Metaspace",
    "Punctuation",
    "UnicodeScripts",
    "WhitespaceSplit",
}
"""They decide at each character by that character and those before it."""
_OWN_PATTERNS = {
    "ByteLevel": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "Whitespace": r"\w+|[^\w\s]+",
}
_MARGIN = 16
"""Letters before the cut that are never trusted: more than a normalizer's longest grapheme or replacement has."""
_TRIED = 64
"""Joints that are looked at before giving up."""


class TextPrefix:
    """Knows, for one tokenizer, which tokens of a cut text are those of the whole text. Make it with `of`.

    Args:
        tokenizer: a fast transformers tokenizer, as it is now.
    """

    _made: ClassVar[WeakKeyDictionary[Any, tuple[int, TextPrefix]]] = WeakKeyDictionary()

    @classmethod
    def of(cls, tokenizer: Any) -> TextPrefix:
        """The one of this tokenizer, made at the first call and again when tokens were added since."""
        size = len(tokenizer)
        if tokenizer not in cls._made or cls._made[tokenizer][0] != size:
            cls._made[tokenizer] = (size, cls(tokenizer))
        return cls._made[tokenizer][1]

    def __init__(self, tokenizer: Any) -> None:
        self._backend = tokenizer.backend_tokenizer
        added = self._backend.get_added_tokens_decoder().values()
        self._margin = max([_MARGIN, *(len(each.content) for each in added)]) + 1
        self._made_joints: _Joints | None = None
        stages = [*_parts(self._backend.normalizer, "normalizers"), *_parts(self._backend.pre_tokenizer, "pretokenizers")]
        reaches = [_reach_of(stage) for stage in stages]
        known = [each for each in reaches if each is not None]
        # a tokenizer that keeps the end of a long text needs that end
        self.usable = len(known) == len(reaches) and getattr(tokenizer, "truncation_side", "right") == "right"
        self._margin += sum(len(pattern) for stage in stages if (pattern := _literal(stage)))
        self._stops = Stops(known, self._seen_as)
        self._mirrored = self._stops.steps == 0 and not any(_from_the_left(stage) for stage in stages)

    def stands_apart(self, suffix: str) -> bool:
        """Whether what follows a text is tokenized without regard to the text: nothing, or first of all an added token.

        An added token is cut out before the text is split. One that takes the blanks before it away, or that counts as a word of
        its own, looks at the text, so it does not stand apart.
        """
        if not suffix:
            return True
        first = [each for each in self._backend.get_added_tokens_decoder().values() if suffix.startswith(each.content)]
        return bool(first) and not any(each.normalized or each.lstrip or each.single_word for each in first)

    def proved(self, encoding: Any, text: str, cut: int, wanted: int) -> bool:
        """Whether the whole text begins with the first `wanted` tokens too, special ones in front included.

        Args:
            encoding: of the beginning, by the tokenizers library, special tokens included.
            text: the characters that were encoded.
            cut: how many of them are the whole text's own beginning; what follows is something else.
            wanted: number of tokens.
        """
        if not self.usable:
            return False
        end = self._last_stop(text, self._back(text, cut))
        return self._by_words(encoding, end) >= wanted or self._joints().before(encoding, end) >= wanted

    def ended(self, encoding: Any, start: int) -> bool:
        """Whether the tokens behind some joint after the character `start` are those behind it in the whole text.

        A joint that nothing stands across keeps both sides apart. Nothing is known of the text's end if a pattern is searched from
        the left.
        """
        return self.usable and self._mirrored and self._joints().after(encoding, start)

    def _back(self, text: str, cut: int) -> int:
        """The place so many letters before the cut that neither a normalizer nor an added token reaches across."""
        left = self._margin
        while cut > 0 and left:
            cut -= 1
            # marks do not count: however many there are, they change the letter before them
            left -= text[cut].isalnum() and not unicodedata.combining(text[cut])
        return cut

    def _last_stop(self, text: str, edge: int) -> int:
        """The place from which no pattern sees as far as `edge`."""
        if self._stops.steps == 0:
            return edge
        left = self._stops.steps + 1
        while edge > 1 and left:
            edge -= 1
            left -= self._stops.between(text[edge - 1], text[edge])
        return 0 if left else edge

    def _by_words(self, encoding: Any, end: int) -> int:
        """Tokens of the pieces that end before the character `end`, but for the last two, which a later piece may join."""
        firsts: list[int] = []
        word = None
        for index, (own, (_, stop)) in enumerate(zip(encoding.word_ids, encoding.offsets)):
            if own is None:
                continue
            if stop > end:
                break
            if own != word:
                firsts.append(index)
                word = own
        return firsts[-3] if len(firsts) > 3 else 0

    def _joints(self) -> _Joints:
        if self._made_joints is None:
            self._made_joints = _Joints(self._backend)
        return self._made_joints

    def _seen_as(self, character: str) -> str:
        """What the normalizer makes of a character inside a word."""
        if self._backend.normalizer is None:
            return character
        whole = self._backend.normalizer.normalize_str(f"a{character}a")
        return whole[whole.find("a") + 1 : whole.rfind("a")]


class _Joints:
    """The places between tokens that no entry of a BPE or Unigram vocabulary can stand across."""

    def __init__(self, backend: Any) -> None:
        model = backend.model
        self._kind = type(model).__name__
        plain = not getattr(model, "continuing_subword_prefix", None) and not getattr(model, "end_of_word_suffix", None)
        self.usable = self._kind in ("BPE", "Unigram") and plain and not getattr(model, "dropout", None)
        self._entries = set(backend.get_vocab(with_added_tokens=False)) if self.usable else set()
        self._pairs = {entry[i : i + 2] for entry in self._entries for i in range(len(entry) - 1)}
        self._longest = max(map(len, self._entries), default=0)
        self._unknown = {getattr(model, "unk_token", None), "<unk>"}

    def before(self, encoding: Any, end: int) -> int:
        """Tokens in front of the last joint before the character `end`; 0 if there is none among the last ones."""
        tokens, offsets = encoding.tokens, encoding.offsets
        places = [i for i in self._own(encoding) if offsets[i][1] <= end]
        return next((i for i in places[: -_TRIED - 1 : -1] if self._is_joint(tokens, i, closed=False)), 0)

    def after(self, encoding: Any, start: int) -> bool:
        """Whether there is a joint whose neighborhood lies behind the character `start`."""
        tokens, offsets = encoding.tokens, encoding.offsets
        places = [i for i in self._own(encoding) if offsets[i][0] >= start + self._longest]
        return any(self._is_joint(tokens, i, closed=True) for i in places[:_TRIED])

    def _own(self, encoding: Any) -> list[int]:
        """Tokens of the text, but for the first one."""
        words = encoding.word_ids if self.usable else []
        return [i for i in range(1, len(words)) if words[i - 1] is not None and words[i] is not None]

    def _is_joint(self, tokens: list[str], right: int, *, closed: bool) -> bool:
        """Whether the place in front of token `right` is one; `closed` if the text's real end may be near."""
        if not (self._spelled(tokens[right - 1]) and self._spelled(tokens[right])):
            return False
        left, before, after = right - 1, "", ""
        while left >= 0 and len(before) < self._longest and self._spelled(tokens[left]):
            before = tokens[left] + before
            left -= 1
        while right < len(tokens) and len(after) < self._longest and self._spelled(tokens[right]):
            after += tokens[right]
            right += 1
        opened = len(before) >= self._longest or left < 0
        ended = len(after) >= self._longest or (closed and right == len(tokens))
        return opened and ended and not self._crossed(before, after)

    def _spelled(self, token: str) -> bool:
        """Whether a token is spelled as the model sees it. BPE merges tokens, of bytes too; Unigram reads characters."""
        if token in self._unknown or token not in self._entries:
            return False
        return self._kind == "BPE" or not (len(token) == 6 and token.startswith("<0x") and token.endswith(">"))

    def _crossed(self, before: str, after: str) -> bool:
        if before[-1] + after[0] not in self._pairs:
            return False
        return any(
            before[-i:] + after[:j] in self._entries
            for i in range(1, min(len(before), self._longest - 1) + 1)
            for j in range(1, min(len(after), self._longest - i) + 1)
        )


def _parts(component: Any, inner: str) -> list[dict[str, Any]]:
    """The stages of a normalizer or pre-tokenizer as JSON, sequences taken apart."""
    if component is None:
        return []
    try:
        return list(_flat(json.loads(component.__getstate__()), inner))
    except Exception:
        # one written in Python has no JSON; the unknown type below says that nothing is proved about it
        return [{"type": "unknown"}]


def _flat(stage: dict[str, Any], inner: str) -> Iterator[dict[str, Any]]:
    if stage["type"] == "Sequence":
        for each in stage[inner]:
            yield from _flat(each, inner)
    else:
        yield stage


def _literal(stage: dict[str, Any]) -> str | None:
    """The string that a stage looks for, if it looks for one."""
    pattern = stage.get("pattern")
    return pattern.get("String") if isinstance(pattern, dict) else None


def _from_the_left(stage: dict[str, Any]) -> bool:
    """Whether what a stage makes of a place depends on all that stands before it."""
    return stage["type"] in ("FixedLength", "UnicodeScripts") or len(_literal(stage) or "") > 1


def _reach_of(stage: dict[str, Any]) -> Reach | None:
    """How far a stage looks ahead, beside the grapheme that it reads; None if that is not known."""
    kind = stage["type"]
    if kind in ("Replace", "Split"):
        # a literal string is one match of its own length, which the margin before the cut allows for
        return Reach() if _literal(stage) is not None else reach(stage["pattern"]["Regex"])
    if kind == "ByteLevel" and "use_regex" in stage:
        return reach(_OWN_PATTERNS[kind]) if stage["use_regex"] else Reach()
    if kind in _OWN_PATTERNS and kind != "ByteLevel":
        return reach(_OWN_PATTERNS[kind])
    return Reach() if kind in _LOCAL_NORMALIZERS | _LOCAL_SPLITTERS else None
