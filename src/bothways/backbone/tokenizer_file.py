"""Compares a loaded tokenizer with the tokenizer.json that it was loaded from.

Some tokenizer classes of transformers 5 (Qwen2Tokenizer, GemmaTokenizer, …) build their own
normalizer and pre-tokenizer, and take only the vocabulary and the merges from tokenizer.json. For
the families' own models both are equal. If a model has another tokenizer under such a class, texts
are split in another way than the file says, and no loader reports it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

log = logging.getLogger("bothways")

# words and spaces
_PROBES = (
    "The river runs to the sea.",  # digits: one by one, in threes, or whole
    "In 2024, 12345 of 67890",  # digits: one by one, by three, or whole
    "It isn't they'll we'VE",  # runs of spaces, line feeds, tabs
    "a  b   c\n\nd\te",  # runs of blanks, line feeds, tabs
    "caf\u00e9 cafe\u0301 \ufb01ne",  # composed, decomposed and compatibility letters
    "x=f(y);//z_0 != [a,b]",  # punctuation
    "\u5317\u4eac\u5e02 \uc11c\uc6b8\uc2dc",  # Chinese, Korean
)


def difference(tokenizer: Any, where: str) -> str | None:
    """Find a text that `tokenizer` splits in another way than the tokenizer.json next to it.

    Args:
        tokenizer: a fast transformers tokenizer.
        where: the folder or hub id that it was loaded from.

    Returns:
        The first such text, or None if all are equal or `where` does not hold a tokenizer.json.
    """
    file = _file(where)
    if file is None or not getattr(tokenizer, "is_fast", False):
        return None
    from tokenizers import Tokenizer

    written = Tokenizer.from_file(str(file))
    written.no_truncation()
    written.no_padding()
    for text in _PROBES:
        if written.encode(text, add_special_tokens=False).ids != tokenizer(text, add_special_tokens=False)["input_ids"]:
            return text
    return None


def warn_of_difference(tokenizer: Any, where: str, name: str) -> None:
    """Log one warning if `tokenizer` does not split texts as its own tokenizer.json says.

    The vectors follow transformers, as they do in sentence-transformers. A server that reads
    tokenizer.json itself, such as text-embeddings-inference, gives other vectors.

    Args:
        tokenizer: a fast transformers tokenizer.
        where: the folder or hub id that it was loaded from.
        name: the model's name as the user gave it.
    """
    text = difference(tokenizer, where)
    if text is not None:
        log.warning(
            "%s: transformers reads its tokenizer as %s, which splits %r in another way than its tokenizer.json; "
            "vectors follow transformers, and servers that read tokenizer.json themselves give others",
            name,
            type(tokenizer).__name__,
            text,
        )


def _file(where: str) -> Path | None:
    if Path(where).is_dir():
        place: Any = Path(where) / "tokenizer.json"
    else:
        from huggingface_hub import try_to_load_from_cache

        place = try_to_load_from_cache(where, "tokenizer.json")
    return Path(place) if isinstance(place, (str, Path)) and Path(place).is_file() else None
