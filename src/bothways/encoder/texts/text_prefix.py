"""Proves how many tokens of a text's beginning are also the first tokens of the whole text.

A text of 8 MB costs a tokenizer gigabytes and half a minute, but an encoder reads only its first
512 tokens. So only a beginning of the text is tokenized, and this file proves which of its tokens
stay the same when the rest of the text follows.

The proof has three forms. The first two rest on one fact: a tokenizer reads from left to right, and
looks ahead a limited distance.
1. *Words.* Most tokenizers split a text first and tokenize each piece by itself. A piece of the
    beginning is a piece of the whole text if it ends so far before the cut that no rule can look
    ahead from it to the cut (`split_patterns`).
2. *Joints.* Some pieces are as long as the text (SentencePiece without splitting, scripts without
    blanks). There a joint between two tokens stays if no entry of the vocabulary could span it.
    Then no merge of BPE ever crosses it, and every path of a Unigram model goes through it.
    Everything to its left is tokenized as if the text ended there.
3. *Long words.* One word of a million letters has no such place. There the tokens stay that the
    word has for every place near the cut at which a token may end (`long_words`).

If none holds, nothing is proved and the caller tokenizes the whole text. This happens, for example,
under rules that this file does not know, or if the tokens of a word change from the end to the
beginning when it grows.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

from bothways.encoder.long_words.long_word import LongWord
from bothways.encoder.long_words.open_piece import BY_CHARACTER, OWN_PATTERNS
from bothways.encoder.texts.split_patterns import PatternReach, Stops, reach

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from transformers import PreTrainedTokenizerBase

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
"""Their result for a character depends only on its grapheme, or on being first or last."""
_LOCAL_SPLITTERS = BY_CHARACTER | {"FixedLength", "UnicodeScripts"}
_MARGIN = 16
"""Letters before the cut that are never trusted, more than in a normalizer's longest grapheme or
replacement."""
_TRIED = 64
"""Number of joints to try before giving up."""


class TextPrefix:
    """Knows, for one tokenizer, which tokens of a cut text are those of the whole text.

    Make it with `of`.

    Args:
        tokenizer: a fast transformers tokenizer in its present state.
    """

    _made: ClassVar[WeakKeyDictionary[Any, tuple[int, TextPrefix]]] = WeakKeyDictionary()

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> TextPrefix:
        """Return the instance of this tokenizer.

        It is made at the first call, and again if tokens have been added since.
        """
        size = len(tokenizer)
        if tokenizer not in cls._made or cls._made[tokenizer][0] != size:
            cls._made[tokenizer] = (size, cls(tokenizer))
        return cls._made[tokenizer][1]

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._backend = tokenizer.backend_tokenizer
        added = list(self._backend.get_added_tokens_decoder().values())
        self._margin = max([_MARGIN, *(len(each.content) for each in added)]) + 1
        self._made_joints: _Joints | None = None
        self._made_long_word: LongWord | None = None
        normalizers = _parts(self._backend.normalizer, "normalizers")
        self._splitters = _parts(self._backend.pre_tokenizer, "pretokenizers")
        stages = [*normalizers, *self._splitters]
        # Blanks before the cut vanish if an added token that strips them, or a normalizer that
        # trims or joins them, follows.
        self._blanks_stay = not any(each.lstrip for each in added) and all(
            each["type"] == "NFC" for each in normalizers
        )
        reaches = [_reach_of(stage) for stage in stages]
        known = [each for each in reaches if each is not None]
        # a tokenizer that keeps the end of a long text needs that end
        self.usable = (
            len(known) == len(reaches) and getattr(tokenizer, "truncation_side", "right") == "right"
        )
        self._margin += sum(len(pattern) for stage in stages if (pattern := _literal(stage)))
        self._stops = Stops(known, self._seen_as)
        self._mirrored = self._stops.steps == 0 and not any(
            _from_the_left(stage) for stage in stages
        )

    def stands_apart(self, suffix: str) -> bool:
        """Return whether `suffix` is tokenized independently of the text before it.

        It is if it is empty or begins with an added token, because added tokens are cut out before
        the text is split. An added token that strips the blanks before it, or that must be a word
        of its own, depends on the text.
        """
        if not suffix:
            return True
        first = [
            each
            for each in self._backend.get_added_tokens_decoder().values()
            if suffix.startswith(each.content)
        ]
        return bool(first) and not any(
            each.normalized or each.lstrip or each.single_word for each in first
        )

    def proved(self, encoding: Encoding, text: str, cut: int, wanted: int) -> bool:
        """Return whether the whole text also begins with the first `wanted` tokens.

        Special tokens in front are included.

        Args:
            encoding: encoding of the beginning by the tokenizers library, with special tokens.
            text: the characters that were encoded.
            cut: how many of them are the whole text's own beginning. The rest may be anything.
            wanted: number of tokens.
        """
        if not self.usable:
            return False
        edge = self._back(text, cut)
        end = self._last_stop(text, edge)
        if (
            self._by_words(encoding, end) >= wanted
            or self._joints().before(encoding, end) >= wanted
        ):
            return True
        return self._long_word().proves(encoding, text, cut, edge, wanted)

    def ended(self, encoding: Encoding, start: int) -> bool:
        """Return whether the tokens behind some joint after `start` are those of the whole text.

        A joint that no entry spans separates both sides. Nothing is known about the text's end if a
        pattern is searched from the left.
        """
        return self.usable and self._mirrored and self._joints().after(encoding, start)

    def _back(self, text: str, cut: int) -> int:
        """Move back from the cut until neither a normalizer nor an added token can reach it."""
        left = self._margin
        while cut > 0 and left:
            cut -= 1
            left -= self._counts(text[cut])
        return cut

    def _counts(self, character: str) -> bool:
        """Return whether a normalizer or an added token may reach across few such characters only.

        Marks do not count, because any number of them changes only the letter before them.
        """
        if "!" <= character <= "~" or (character.isspace() and self._blanks_stay):
            return True
        return character.isalnum() and not unicodedata.combining(character)

    def _last_stop(self, text: str, edge: int) -> int:
        """Find the place from which no pattern looks as far as `edge`."""
        if self._stops.steps == 0:
            return edge
        left = self._stops.steps + 1
        while edge > 1 and left:
            edge -= 1
            left -= self._stops.between(text[edge - 1], text[edge])
        return 0 if left else edge

    def _by_words(self, encoding: Encoding, end: int) -> int:
        """Count the tokens of the pieces that end before the character `end`.

        The last two pieces do not count, because a later piece may join them.
        """
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

    def _long_word(self) -> LongWord:
        if self._made_long_word is None:
            self._made_long_word = LongWord(self._backend, self._splitters)
        return self._made_long_word

    def _seen_as(self, character: str) -> str:
        """Return the normalizer's result for a character inside a word."""
        if self._backend.normalizer is None:
            return character
        whole: str = self._backend.normalizer.normalize_str(f"a{character}a")
        return whole[whole.find("a") + 1 : whole.rfind("a")]


class _Joints:
    """The places between tokens that no entry of a BPE or Unigram vocabulary can span."""

    def __init__(self, backend: Tokenizer) -> None:
        model = backend.model
        self._kind = type(model).__name__
        plain = not getattr(model, "continuing_subword_prefix", None) and not getattr(
            model, "end_of_word_suffix", None
        )
        self.usable = (
            self._kind in ("BPE", "Unigram") and plain and not getattr(model, "dropout", None)
        )
        self._entries = set(backend.get_vocab(with_added_tokens=False)) if self.usable else set()
        self._pairs = {entry[i : i + 2] for entry in self._entries for i in range(len(entry) - 1)}
        self._longest = max(map(len, self._entries), default=0)
        self._unknown = {getattr(model, "unk_token", None), "<unk>"}

    def before(self, encoding: Encoding, end: int) -> int:
        """Count the tokens in front of the last joint before the character `end`.

        Returns 0 if there is none among the last tokens.
        """
        tokens, offsets = encoding.tokens, encoding.offsets
        places = [i for i in self._own(encoding) if offsets[i][1] <= end]
        return next(
            (i for i in places[: -_TRIED - 1 : -1] if self._is_joint(tokens, i, closed=False)), 0
        )

    def after(self, encoding: Encoding, start: int) -> bool:
        """Return whether there is a joint whose neighborhood is behind the character `start`."""
        tokens, offsets = encoding.tokens, encoding.offsets
        places = [i for i in self._own(encoding) if offsets[i][0] >= start + self._longest]
        return any(self._is_joint(tokens, i, closed=True) for i in places[:_TRIED])

    def _own(self, encoding: Encoding) -> list[int]:
        """List the tokens of the text, without the first one."""
        words = encoding.word_ids if self.usable else []
        return [
            i for i in range(1, len(words)) if words[i - 1] is not None and words[i] is not None
        ]

    def _is_joint(self, tokens: list[str], right: int, *, closed: bool) -> bool:
        """Return whether the place in front of token `right` is a joint.

        `closed` says that the text's real end may be near.
        """
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
        """Return whether a token is spelled as the model sees it.

        BPE merges tokens, including tokens of bytes. Unigram reads characters.
        """
        if token in self._unknown or token not in self._entries:
            return False
        return self._kind == "BPE" or not (
            len(token) == 6 and token.startswith("<0x") and token.endswith(">")
        )

    def _crossed(self, before: str, after: str) -> bool:
        if before[-1] + after[0] not in self._pairs:
            return False
        return any(
            before[-i:] + after[:j] in self._entries
            for i in range(1, min(len(before), self._longest - 1) + 1)
            for j in range(1, min(len(after), self._longest - i) + 1)
        )


def _parts(component: Any, inner: str) -> list[dict[str, Any]]:
    """List the stages of a normalizer or pre-tokenizer as JSON, with sequences flattened."""
    if component is None:
        return []
    try:
        return list(_flat(json.loads(component.__getstate__()), inner))
    except Exception:
        # A stage written in Python has no JSON. The unknown type below says that nothing is proved
        # about it.
        return [{"type": "unknown"}]


def _flat(stage: dict[str, Any], inner: str) -> Iterator[dict[str, Any]]:
    if stage["type"] == "Sequence":
        for each in stage[inner]:
            yield from _flat(each, inner)
    else:
        yield stage


def _literal(stage: dict[str, Any]) -> str | None:
    """Return the string that a stage looks for, if it looks for one."""
    pattern = stage.get("pattern")
    return pattern.get("String") if isinstance(pattern, dict) else None


def _from_the_left(stage: dict[str, Any]) -> bool:
    """Return whether a stage's result at a place depends on everything before that place."""
    return stage["type"] in ("FixedLength", "UnicodeScripts") or len(_literal(stage) or "") > 1


def _reach_of(stage: dict[str, Any]) -> PatternReach | None:
    """Return how far a stage looks ahead of the grapheme that it reads, or None if unknown."""
    kind = stage["type"]
    if kind in ("Replace", "Split"):
        # A literal string is one match of its own length, which the margin before the cut allows
        # for.
        return PatternReach() if _literal(stage) is not None else reach(stage["pattern"]["Regex"])
    if kind == "ByteLevel" and "use_regex" in stage:
        return reach(OWN_PATTERNS[kind]) if stage["use_regex"] else PatternReach()
    if kind in OWN_PATTERNS and kind != "ByteLevel":
        return reach(OWN_PATTERNS[kind])
    return PatternReach() if kind in _LOCAL_NORMALIZERS | _LOCAL_SPLITTERS else None
