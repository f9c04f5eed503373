"""Where an instruction ends: here by characters, in sentence-transformers by the number of tokens that the instruction has by itself.

Both leave the same tokens out of the pool unless the instruction's last token merges with the text, as a blank at its end does with the
word behind it in most tokenizers. Then sentence-transformers leaves out one token too many, and of a one-token text nothing remains: its
vector is zero. The rows of a call are compared one by one, and the first call with such an instruction says so.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bothways.encoder.batch import TokenRow
from bothways.encoder.folder import pooling_module
from bothways.encoder.tokenization import Text, is_template, stock_tokens

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

log = logging.getLogger("bothways")

ADVICE = "write the prompt without a blank at its end, for example with a line feed, and both agree"


def warn(encoder: Encoder, texts: Sequence[Text], rows: Sequence[TokenRow], prompt: str | None) -> None:
    """Log one line for each instruction, once for each encoder, that sentence-transformers cuts at another token.

    Args:
        encoder: whose folder sentence-transformers may read.
        texts: of the rows, as the caller gave them.
        rows: their tokens.
        prompt: the instruction of texts that bring none.
    """
    heads = [item[0] if isinstance(item, tuple) else prompt or "" for item in texts]
    if not any(heads):
        return
    options = encoder.options
    if options.pool_prompt or options.stock_prompts or options.wrapper.prefix or options.wrapper.joint:
        return
    if pooling_module.is_trained(encoder.pooling) or encoder.pooling.mode in ("last", "last_tokens"):
        return
    new = {head for head in heads if head and not is_template(head)} - encoder.warned_prompts
    lengths = {head: len(stock_tokens(encoder.tokenizer, head)) for head in new}
    off = Counter(head for head, row in zip(heads, rows) if head in new and row.pool.index(True) != lengths[head])
    for head, count in off.items():
        encoder.warned_prompts.add(head)
        log.warning(
            "prompt %r: its last token merges with the text, so sentence-transformers pools other tokens than this encoder for %d of %d "
            "texts; %s",
            head[-40:],
            count,
            len(rows),
            ADVICE,
        )
