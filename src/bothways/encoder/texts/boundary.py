"""Warns when sentence-transformers would end an instruction at another token than this encoder.

This encoder finds the end by characters. sentence-transformers counts the tokens that the
instruction has by itself. Both leave the same tokens out of the pool with two exceptions:

- The instruction's last token merges with the text. In most tokenizers, for example, a blank at the
  end merges with the next word. Then sentence-transformers leaves out one token too many. Nothing
  remains of a one-token text, and its vector is zero.
- The instruction itself ends in a special token. sentence-transformers takes it for one that the
  tokenizer added, and pools it with the text.

The rows of a call are compared one by one, and the first call with such an instruction logs a
warning.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bothways.encoder.batch import TokenRow
from bothways.encoder.folder import pooling_module
from bothways.encoder.module import EncoderModule
from bothways.encoder.texts.tokenization import Text, stock_tokens
from bothways.encoder.texts.wrapping import is_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger("bothways")

MERGES = (
    "its last token merges with the text",
    "end the prompt without a blank, for example with a line feed, and both agree",
)
SPECIAL = (
    "it ends in a special token",
    "end the prompt with an ordinary token, for example a line feed, and both agree",
)


def cause(tokenizer: PreTrainedTokenizerBase, prompt: str) -> tuple[str, str]:
    """Explain why sentence-transformers ends a prompt at another token, and what to do about it."""
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    return SPECIAL if ids and ids[-1] in tokenizer.all_special_ids else MERGES


def warn(
    encoder: EncoderModule, texts: Sequence[Text], rows: Sequence[TokenRow], prompt: str | None
) -> None:
    """Log one line for each instruction that sentence-transformers cuts at another token.

    Each encoder logs an instruction only once.

    Args:
        encoder: an encoder whose folder sentence-transformers may read.
        texts: the texts of the rows, as the caller gave them.
        rows: their tokens.
        prompt: the instruction of texts that have none of their own.
    """
    heads = [item[0] if isinstance(item, tuple) else prompt or "" for item in texts]
    if not any(heads):
        return
    options = encoder.options
    if (
        options.pool_prompt
        or options.stock_prompts
        or options.wrapper.prefix
        or options.wrapper.joint
    ):
        return
    if pooling_module.is_trained(encoder.pooling) or encoder.pooling.mode in (
        "last",
        "last_tokens",
    ):
        return
    new = {head for head in heads if head and not is_template(head)} - encoder.warned_prompts
    lengths = {head: len(stock_tokens(encoder.tokenizer, head)) for head in new}
    off = Counter(
        head
        for head, row in zip(heads, rows)
        if head in new and row.pool.index(True) != lengths[head]
    )
    for head, count in off.items():
        encoder.warned_prompts.add(head)
        why, advice = cause(encoder.tokenizer, head)
        log.warning(
            "prompt %r: %s, so for %d of %d texts sentence-transformers pools other tokens than this encoder; %s",
            head[-40:],
            why,
            count,
            len(rows),
            advice,
        )
