"""What belongs to an encoder beside its weights: lengths, prompts, what is pooled, and what stands around texts."""

from __future__ import annotations

from dataclasses import dataclass, field

from bothways.encoder.tokenization import Wrapper


@dataclass
class EncoderOptions:
    """What belongs to an encoder beside its weights; stored with it.

    Args:
        max_length: tokens per text at most, None for no limit.
        pool_bos: whether a BOS token is pooled when no instruction is given.
        pool_prompt: whether instructions are pooled; only for encoders of others that were trained so.
        stock_prompts: leave as many tokens out of the pool as an instruction has by itself, as sentence-transformers does; for encoders of
            others. False: up to the text's first character.
        normalize: whether `encode` returns unit vectors unless told otherwise.
        prompts: instructions by name; "query" and "document" serve `encode_query` and `encode_document`.
        default_prompt: name of the prompt that `encode` uses when none is given.
        wrapper: chat wrapping of every input.
    """

    max_length: int | None = None
    pool_bos: bool = True
    pool_prompt: bool = False
    stock_prompts: bool = False
    normalize: bool = False
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    wrapper: Wrapper = field(default_factory=Wrapper)
