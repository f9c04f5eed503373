"""The options of an encoder: lengths, prompts, pooled tokens, and chat wrapping."""

from __future__ import annotations

from dataclasses import dataclass, field

from bothways.encoder.texts.wrapping import Wrapper
from bothways.similarity_names import Similarity


@dataclass
class EncoderOptions:
    """The options of an encoder, which are stored with it.

    Args:
        max_length: maximum number of tokens per text. If None, there is no limit.
        pool_bos: whether a BOS token is pooled if there is no instruction.
        pool_prompt: whether instructions are pooled, as servers pool them. For encoders that were
            trained in this way.
        stock_prompts: leave as many tokens out of the pool as the instruction has by itself, as
            sentence-transformers does. Only for encoders from elsewhere. If False, leave out all
            tokens before the text's first character.
        normalize: whether `encode` returns unit vectors by default.
        prompts: instructions by name, for example {"query": "Find: "}. `encode_query` uses "query"
            and `encode_document` uses "document".
        default_prompt: name of the prompt that `encode` uses if the caller gives none. It may be a
            bare special token. A decoder parks outlier activations on the first token of a
            document, and if that is a prompt's token, it is left out of the pool (docs/log.md).
        wrapper: chat wrapping of every input.
        similarity: how vectors are compared, by `similarity` and wherever texts are ranked.
    """

    max_length: int | None = None
    pool_bos: bool = True
    pool_prompt: bool = False
    stock_prompts: bool = False
    normalize: bool = False
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    wrapper: Wrapper = field(default_factory=Wrapper)
    similarity: Similarity = "cosine"
