"""Prepares any fast tokenizer for the encoder, and measures its special tokens around a text.

Tokenizers are unreliable: `add_bos_token` flags, post-processors and saved truncation settings
disagree between families and versions. So the tokens that a tokenizer adds are found by encoding a
text, never by reading a flag. This module never extends a vocabulary and never applies a chat
template. A text is encoded unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from bothways.errors import InputError

if TYPE_CHECKING:
    from tokenizers.processors import ByteLevel
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

_PROBE = "The river runs to the sea."


@dataclass(frozen=True)
class Specials:
    """The tokens that a tokenizer puts around one text, as measured.

    Attributes:
        bos_added: True if BOS (or CLS, in families that use it instead) is among the leading ids.
        eos_added: True if EOS (or SEP) is among the trailing ids.
        prefix_ids: ids before the text.
        suffix_ids: ids after the text.
    """

    bos_added: bool
    eos_added: bool
    prefix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]


def specials(tokenizer: PreTrainedTokenizerBase) -> Specials:
    """Measure the special tokens that `tokenizer` adds to a single text.

    For example, Llama 2's gives bos_added True, eos_added False and prefix_ids (1,).

    Raises:
        InputError: if the full encoding does not contain the text's own ids, so the added ids
            cannot be separated from them.
    """
    plain = list(tokenizer(_PROBE, add_special_tokens=False)["input_ids"])
    full = list(tokenizer(_PROBE, add_special_tokens=True)["input_ids"])
    extra = len(full) - len(plain)
    starts = [start for start in range(extra + 1) if full[start : start + len(plain)] == plain]
    if not starts:
        raise InputError(
            f"tokenizer {_name(tokenizer)}: adding special tokens changes the text's own tokens, so the two cannot be separated"
        )
    prefix, suffix = tuple(full[: starts[0]]), tuple(full[starts[0] + len(plain) :])
    first = {tokenizer.bos_token_id, tokenizer.cls_token_id} - {None}
    last = {tokenizer.eos_token_id, tokenizer.sep_token_id} - {None}
    return Specials(bool(first & set(prefix)), bool(last & set(suffix)), prefix, suffix)


def append_eos(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make a fast `tokenizer` put EOS after every text, in place.

    If it already does so, nothing changes. The rule is written into the tokenizer itself, so it is
    saved with it and every loader follows it. Other tokens around a text stay as measured, and
    token ids do not change.

    Raises:
        InputError: if the tokenizer does not have an EOS token.
    """
    around = specials(tokenizer)
    if not around.eos_added:
        token = _token_id(tokenizer, "EOS", tokenizer.eos_token_id)
        _put_around(tokenizer, around.prefix_ids, (*around.suffix_ids, token))


def prepend_bos(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make a fast `tokenizer` put BOS before every text, in place, as `append_eos` does with EOS.

    A decoder puts outlier activations on the first token that it sees. If that is BOS, they stay
    off the text's own first token.

    Raises:
        InputError: if the tokenizer does not have a BOS token.
    """
    around = specials(tokenizer)
    if not around.bos_added:
        token = _token_id(tokenizer, "BOS", tokenizer.bos_token_id)
        _put_around(tokenizer, (token, *around.prefix_ids), around.suffix_ids)


def _token_id(tokenizer: PreTrainedTokenizerBase, name: str, found: int | None) -> int:
    if found is None:
        option = f"add_{name.lower()}"
        raise InputError(
            f"{option}: tokenizer {_name(tokenizer)} has no {name} token; leave {option} out, or name one in its files"
        )
    return int(found)


def _put_around(
    tokenizer: PreTrainedTokenizerBase, before: Sequence[int], after: Sequence[int]
) -> None:
    """Write the rule that puts these ids around every text."""
    from tokenizers import processors

    tokens = {index: str(tokenizer.convert_ids_to_tokens(index)) for index in (*before, *after)}
    template = processors.TemplateProcessing(
        single=[*(tokens[index] for index in before), "$A", *(tokens[index] for index in after)],
        special_tokens=[(token, index) for index, token in tokens.items()],
    )
    backend = tokenizer.backend_tokenizer
    trimming = _byte_level(json.loads(backend.to_str())["post_processor"])
    backend.post_processor = (
        template if trimming is None else processors.Sequence([trimming, template])
    )


def _byte_level(post: dict[str, Any] | None) -> ByteLevel | None:
    """Find the part of a post-processor (as JSON) that trims character offsets, or None."""
    from tokenizers import processors

    parts = [] if post is None else post["processors"] if post["type"] == "Sequence" else [post]
    found = next((part for part in parts if part["type"] == "ByteLevel"), None)
    return None if found is None else processors.ByteLevel(trim_offsets=found["trim_offsets"])


def prepare_tokenizer(
    tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig
) -> PreTrainedTokenizerBase:
    """Check `tokenizer` against the model's `config`, give it a pad token, and return it.

    The tokenizer is changed in place. If the pad token is absent or outside the model's embeddings,
    it becomes EOS, else UNK. Any embedded id serves, because padding is neither pooled nor attended
    to. BOS and EOS may be missing. Truncation and padding that were saved inside the tokenizer are
    switched off, because they would cut texts silently. A chat template is kept but not used.

    Args:
        tokenizer: a transformers tokenizer.
        config: the model's (text) config. Its `vocab_size` is the number of embedding rows.

    Raises:
        InputError: if the tokenizer does not give character offsets (a slow, Python-only one), if
            its vocabulary is empty, if ids lie beyond the embeddings, or if no token could serve as
            pad token.
    """
    if not getattr(tokenizer, "is_fast", False):
        # Character offsets separate instructions from text and map tokens to words. A slow
        # tokenizer does not give them.
        raise InputError(
            f"tokenizer {_name(tokenizer)} is a slow one without character offsets; "
            "save a fast version of it (a tokenizer.json in the model's folder)"
        )
    rows = getattr(config, "vocab_size", None)
    if len(tokenizer(_PROBE, add_special_tokens=False)["input_ids"]) == 0:
        raise InputError(
            f"tokenizer {_name(tokenizer)} turns a text into nothing; its vocabulary files are missing or empty"
        )
    if rows is not None and tokenizer.vocab_size > rows:
        # Added tokens may lie beyond (Gemma 3 text models have an image token that they never
        # embed). Others may not.
        raise InputError(
            f"tokenizer {_name(tokenizer)} has {tokenizer.vocab_size} tokens but the model embeds {rows}; "
            "it belongs to another model"
        )
    added = [index for index in tokenizer(_PROBE)["input_ids"] if not _embedded(index, rows)]
    if added:
        raise InputError(
            f"tokenizer {_name(tokenizer)} puts {tokenizer.convert_ids_to_tokens(added[0])!r} (number {added[0]}) "
            f"into every text, but the model embeds only {rows} tokens; "
            "it belongs to another model, or to this one with its embedding resized"
        )
    _check_length(tokenizer)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    if not _embedded(tokenizer.pad_token_id, rows):
        _choose_pad(tokenizer, rows)
    return tokenizer


def _check_length(tokenizer: PreTrainedTokenizerBase) -> None:
    length = tokenizer.model_max_length
    if not isinstance(length, (int, float)) or isinstance(length, bool):
        raise InputError(
            f"tokenizer {_name(tokenizer)}: model_max_length must be a number of tokens, and is {length!r:.60}; "
            "correct it in tokenizer_config.json"
        )
    if not length >= 1:  # some write such a value for "no limit"
        tokenizer.model_max_length = VERY_LARGE_INTEGER


def _choose_pad(tokenizer: PreTrainedTokenizerBase, rows: int | None) -> None:
    for token, index in (
        (tokenizer.eos_token, tokenizer.eos_token_id),
        (tokenizer.unk_token, tokenizer.unk_token_id),
    ):
        if token is not None and _embedded(index, rows):
            tokenizer.pad_token = token
            return
    raise InputError(
        f"tokenizer {_name(tokenizer)} has no pad, EOS or UNK token that the model embeds; name an existing token in its "
        'tokenizer_config.json, e.g. "pad_token": "<the token>"'
    )


def _embedded(index: int | None, rows: int | None) -> bool:
    return index is not None and (rows is None or index < rows)


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
