"""Compares a loaded tokenizer with its tokenizer.json and the flags of tokenizer_config.json.

Some tokenizer classes of transformers 5 (Qwen2Tokenizer, GemmaTokenizer, …) build their own
normalizer and pre-tokenizer, and take only the vocabulary and the merges from tokenizer.json. For
the families' own models both are equal. If a model has another tokenizer under such a class, texts
are split in another way than the file says, and no loader reports it.

If there is a tokenizer.json, transformers 5 ignores `add_bos_token` and `add_eos_token` of
tokenizer_config.json. transformers 4 followed them for the classes of `FOLLOWED`. So if a model's
tokenizer.json disagrees, it was trained and published with the tokens of the flags (E5-Mistral).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bothways.backbone.tokenizer.preparation import append_eos, prepend_bos, specials
from bothways.errors import InputError
from bothways.foreign import read_object

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger("bothways")

# One entry for each point at which published pre-tokenizers and normalizers differ.
_PROBES = (
    "The river runs to the sea.",  # words and spaces
    "In 2024, 12345 of 67890",  # digits: one by one, by three, or whole
    "It isn't they'll we'VE",  # contractions, upper case too
    "a  b   c\n\nd\te",  # runs of blanks, line feeds, tabs
    "caf\u00e9 cafe\u0301 \ufb01ne",  # composed, decomposed and compatibility letters
    "x=f(y);//z_0 != [a,b]",  # punctuation
    "\u5317\u4eac\u5e02 \uc11c\uc6b8\uc2dc",  # Chinese, Korean
)


FOLLOWED = frozenset(
    f"{family}Tokenizer{fast}"
    for family in ("Llama", "CodeLlama", "Gemma", "Cohere", "GPTNeoX")
    for fast in ("", "Fast")
)
"""Classes for which transformers 4 wrote the flags into the rule around every text.

Measured with 4.57. The flags of other classes had no effect.
"""


def follow_flags(tokenizer: PreTrainedTokenizerBase, where: str, name: str) -> None:
    """Put BOS and EOS around every text, in place, if tokenizer_config.json promises them.

    A promise counts if the class that the file names kept it in transformers 4, or if the author's
    own class is named (`auto_map`). Each token that is added is logged once.

    Args:
        tokenizer: a fast transformers tokenizer.
        where: the folder or hub id that it was loaded from.
        name: the model's name as the user gave it.

    Raises:
        InputError: if the tokenizer does not have a promised token.
    """
    file = _file(where, "tokenizer_config.json")
    if file is None or not getattr(tokenizer, "is_fast", False):
        return
    stated = read_object(file)
    authors = stated.get("auto_map")
    followed = (stated.get("tokenizer_class") or type(tokenizer).__name__) in FOLLOWED
    if not followed and not (isinstance(authors, dict) and authors.get("AutoTokenizer")):
        return
    for key, role, write in (
        ("add_bos_token", "bos_token", prepend_bos),
        ("add_eos_token", "eos_token", append_eos),
    ):
        around = specials(tokenizer) if stated.get(key) is True else None
        if around is None or (around.bos_added if write is prepend_bos else around.eos_added):
            continue
        token = getattr(tokenizer, role)
        if token is None:
            raise InputError(
                f"{file}: {key} is true and no {role} is named; name it, or write false"
            )
        write(tokenizer)
        log.warning(
            "%s: %s is true in tokenizer_config.json, so %s is put %s every text, as transformers 4 did; transformers 5 follows "
            "tokenizer.json alone, which leaves it out. What bothways saves has it in tokenizer.json",
            name,
            key,
            token,
            "before" if write is prepend_bos else "after",
        )


def difference(tokenizer: PreTrainedTokenizerBase, where: str) -> str | None:
    """Find a text that `tokenizer` splits in another way than the tokenizer.json next to it.

    Args:
        tokenizer: a fast transformers tokenizer.
        where: the folder or hub id that it was loaded from.

    Returns:
        The first such text, or None if all are equal or `where` does not hold a tokenizer.json.
    """
    file = _file(where, "tokenizer.json")
    if file is None or not getattr(tokenizer, "is_fast", False):
        return None
    from tokenizers import Tokenizer

    written = Tokenizer.from_file(str(file))
    written.no_truncation()
    written.no_padding()
    for text in _PROBES:
        if (
            written.encode(text, add_special_tokens=False).ids
            != tokenizer(text, add_special_tokens=False)["input_ids"]
        ):
            return text
    return None


def warn_of_difference(tokenizer: PreTrainedTokenizerBase, where: str, name: str) -> None:
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


def _file(where: str, file: str) -> Path | None:
    if Path(where).is_dir():
        place: Any = Path(where) / file
    else:
        from huggingface_hub import try_to_load_from_cache

        place = try_to_load_from_cache(where, file)
    return Path(place) if isinstance(place, (str, Path)) and Path(place).is_file() else None
