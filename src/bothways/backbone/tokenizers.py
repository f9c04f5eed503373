"""Makes any fast tokenizer usable by the encoder, and measures which special tokens it puts around a text.

Stands apart because tokenizers lie: `add_bos_token` flags, post-processors and saved truncation settings disagree between
families and versions. What a tokenizer adds is therefore found by encoding a text, never by reading a flag. No vocabulary
is ever extended here, and no chat template is applied: a text is encoded as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from bothways.errors import InputError

_PROBE = "The river runs to the sea."


@dataclass(frozen=True)
class Specials:
    """What a tokenizer puts around one text, as measured.

    Attributes:
        bos_added: the BOS token (or CLS, where the family has that in its place) is among the leading ids.
        eos_added: the EOS token (or SEP) is among the trailing ids.
        prefix_ids: ids before the text.
        suffix_ids: ids after the text.
    """

    bos_added: bool
    eos_added: bool
    prefix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]


def specials(tokenizer: Any) -> Specials:
    """Measure the special tokens that `tokenizer` adds to a single text.

    Raises:
        InputError: the text's own ids are not found inside the full encoding, so that they cannot be told from the additions.
    """
    plain = list(tokenizer(_PROBE, add_special_tokens=False)["input_ids"])
    full = list(tokenizer(_PROBE, add_special_tokens=True)["input_ids"])
    extra = len(full) - len(plain)
    starts = [start for start in range(extra + 1) if full[start : start + len(plain)] == plain]
    if not starts:
        raise InputError(
            f"tokenizer {_name(tokenizer)}: adding special tokens changes the text's own tokens, so they cannot be kept apart"
        )
    prefix, suffix = tuple(full[: starts[0]]), tuple(full[starts[0] + len(plain) :])
    first = {tokenizer.bos_token_id, tokenizer.cls_token_id} - {None}
    last = {tokenizer.eos_token_id, tokenizer.sep_token_id} - {None}
    return Specials(bool(first & set(prefix)), bool(last & set(suffix)), prefix, suffix)


def append_eos(tokenizer: Any) -> None:
    """Make a fast `tokenizer` put EOS after every text, in place; nothing happens if it does so already.

    The rule is written into the tokenizer itself, so that it is saved with it and every loader follows it. What the tokenizer puts
    around a text otherwise stays as measured. Token ids do not change.

    Raises:
        InputError: the tokenizer has no EOS.
    """
    around = specials(tokenizer)
    if not around.eos_added:
        token = _token_id(tokenizer, "EOS", tokenizer.eos_token_id)
        _put_around(tokenizer, around.prefix_ids, (*around.suffix_ids, token))


def prepend_bos(tokenizer: Any) -> None:
    """Make a fast `tokenizer` put BOS before every text, in place; see `append_eos`.

    A decoder parks outlier activations on the first token that it sees. With BOS there, they stay off the text's own first token.

    Raises:
        InputError: the tokenizer has no BOS.
    """
    around = specials(tokenizer)
    if not around.bos_added:
        token = _token_id(tokenizer, "BOS", tokenizer.bos_token_id)
        _put_around(tokenizer, (token, *around.prefix_ids), around.suffix_ids)


def _token_id(tokenizer: Any, name: str, found: int | None) -> int:
    if found is None:
        option = f"add_{name.lower()}"
        raise InputError(
            f"{option}: tokenizer {_name(tokenizer)} has no {name} token; leave {option} out, or name one in its files"
        )
    return int(found)


def _put_around(tokenizer: Any, before: Sequence[int], after: Sequence[int]) -> None:
    """Write the rule that these ids stand around every text."""
    from tokenizers import processors

    tokens = {index: str(tokenizer.convert_ids_to_tokens(index)) for index in (*before, *after)}
    template = processors.TemplateProcessing(
        single=[*(tokens[index] for index in before), "$A", *(tokens[index] for index in after)],
        special_tokens=[(token, index) for index, token in tokens.items()],
    )
    backend = tokenizer.backend_tokenizer
    trimming = _byte_level(json.loads(backend.to_str())["post_processor"])
    backend.post_processor = template if trimming is None else processors.Sequence([trimming, template])


def _byte_level(post: Any) -> Any:
    """The part of a post-processor (as JSON) that trims character offsets; None without one."""
    from tokenizers import processors

    parts = [] if post is None else post["processors"] if post["type"] == "Sequence" else [post]
    found = next((part for part in parts if part["type"] == "ByteLevel"), None)
    return None if found is None else processors.ByteLevel(trim_offsets=found["trim_offsets"])


def prepare_tokenizer(tokenizer: Any, config: Any) -> Any:
    """Check `tokenizer` against the model's `config`, give it a pad token, and return it (changed in place).

    The pad token, when absent or outside the model's embeddings, becomes EOS, else UNK: padding is never pooled nor
    attended to, so that any embedded id serves. Missing BOS or EOS is fine. Truncation and padding that were saved inside
    the tokenizer are switched off, since they would cut texts without a word. A chat template stays where it is, unused.

    Args:
        tokenizer: a transformers tokenizer.
        config: the model's (text) config; `vocab_size` is the number of embedding rows.

    Raises:
        InputError: no character offsets (a slow, Python-only tokenizer), an empty vocabulary, ids beyond the embeddings,
            or nothing that could serve as pad token.
    """
    if not getattr(tokenizer, "is_fast", False):
        # instructions are told from text, and tokens mapped to words, by character offsets; a slow tokenizer has none
        raise InputError(
            f"tokenizer {_name(tokenizer)} is a slow one without character offsets; "
            "save a fast version of it (a tokenizer.json beside the model)"
        )
    rows = getattr(config, "vocab_size", None)
    if len(tokenizer(_PROBE, add_special_tokens=False)["input_ids"]) == 0:
        raise InputError(f"tokenizer {_name(tokenizer)} turns a text into nothing; its vocabulary files are missing or empty")
    if rows is not None and tokenizer.vocab_size > rows:
        # added tokens may lie beyond (Gemma 3 text models carry an image token that they never embed), others may not
        raise InputError(
            f"tokenizer {_name(tokenizer)} has {tokenizer.vocab_size} tokens but the model embeds {rows}; "
            "it belongs to another model"
        )
    added = [index for index in tokenizer(_PROBE)["input_ids"] if not _embedded(index, rows)]
    if added:
        raise InputError(
            f"tokenizer {_name(tokenizer)} puts {tokenizer.convert_ids_to_tokens(added[0])!r} (number {added[0]}) into every text, and the "
            f"model embeds {rows} tokens; it belongs to another model, or to this one with its embedding resized"
        )
    _check_length(tokenizer)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    if not _embedded(tokenizer.pad_token_id, rows):
        _choose_pad(tokenizer, rows)
    return tokenizer


def _check_length(tokenizer: Any) -> None:
    length = tokenizer.model_max_length
    if not isinstance(length, (int, float)) or isinstance(length, bool):
        raise InputError(
            f"tokenizer {_name(tokenizer)}: model_max_length must be a number of tokens, and is {length!r:.60}; "
            "correct it in tokenizer_config.json"
        )
    if not length >= 1:  # written for "no limit" by some
        tokenizer.model_max_length = VERY_LARGE_INTEGER


def _choose_pad(tokenizer: Any, rows: int | None) -> None:
    for token, index in ((tokenizer.eos_token, tokenizer.eos_token_id), (tokenizer.unk_token, tokenizer.unk_token_id)):
        if token is not None and _embedded(index, rows):
            tokenizer.pad_token = token
            return
    raise InputError(
        f"tokenizer {_name(tokenizer)} has no pad, EOS or UNK token that the model embeds; name an existing token in its "
        'tokenizer_config.json, e.g. "pad_token": "<the token>"'
    )


def _embedded(index: int | None, rows: int | None) -> bool:
    return index is not None and (rows is None or index < rows)


def _name(tokenizer: Any) -> str:
    return getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
