"""LLaRA's two questions as tokens: templates around a text, whose last states give the vectors.

An encoder's prompt "document" asks for a summary of the text (EBAE), and its prompt "query" for the
continuation (EBAR). Both are templates (`encoder.texts.tokenization`) with the same beginning, for
example "{text} Summary:{eos}" and "{text} Next:{eos}". The objective trains them in one row
(`objectives.llara_rows`), and `both_vectors` reads them in one pass.

Method: LLaRA (Llama2Vec), arXiv 2312.15503.
"""

from __future__ import annotations

from dataclasses import dataclass

from bothways.encoder.module import EncoderModule
from bothways.encoder.texts.wrapping import SLOT, is_template
from bothways.errors import InputError

WHOLE = 10**9  # tokens, more than any row has


@dataclass(frozen=True)
class Questions:
    """The two prompts as tokens.

    Attributes:
        summarize, predict: templates.
        blocks: tokens of each after the text.
        read: number of states at the end of each block that make its vector.
    """

    summarize: str
    predict: str
    blocks: tuple[list[int], list[int]]
    read: int

    @classmethod
    def of(
        cls, encoder: EncoderModule, who: str = "objective llara", remedy: str = ""
    ) -> Questions:
        """Find the questions that are stored with an encoder.

        Args:
            encoder: its prompts, tokenizer and pooling are used.
            who: beginning of an error message.
            remedy: advice if there are no questions.

        Raises:
            InputError: there are no such prompts, they come before the text or begin differently,
                or the pooling does not read the end.
        """
        prompts = tuple(encoder.prompts.get(name, "") for name in ("document", "query"))
        if not all(is_template(prompt) and not prompt.endswith(SLOT) for prompt in prompts):
            raise InputError(
                f"{who}: asks two questions after the text, so the encoder needs prompts 'document' (summarize) and 'query' "
                f"(predict), each a template with {SLOT} and words after it (got {list(encoder.prompts) or 'none'}){remedy}"
            )
        if prompts[0].split(SLOT)[0] != prompts[1].split(SLOT)[0]:
            raise InputError(
                f"{who}: both questions follow the same text, so both prompts must have the same part before {SLOT}"
            )
        mode = getattr(encoder.pooling, "mode", None)
        if mode not in ("last", "last_tokens"):
            raise InputError(
                f"{who}: vectors are read at the end of a question; use pooling last or last_tokens (got {mode})"
            )
        read = int(getattr(encoder.pooling, "tokens", 1))
        if encoder.options.wrapper.suffix:
            raise InputError(
                f"{who}: vectors are read at the end of a question, but the wrapper adds {encoder.options.wrapper.suffix!r} "
                "after it; leave the wrapper out"
            )
        tokenizer = encoder.text_tokenizer()
        blocks = (tokenizer.frame(prompts[0]).closing, tokenizer.frame(prompts[1]).closing)
        if min(map(len, blocks)) < read:
            raise InputError(
                f"{who}: {read} states are read, but a question has only {min(map(len, blocks))} tokens"
            )
        return cls(prompts[0], prompts[1], blocks, read)

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of tokens of each block."""
        return len(self.blocks[0]), len(self.blocks[1])

    def overhead(self, encoder: EncoderModule) -> int:
        """Count a row's tokens other than the text's: special ones, beginning, both blocks."""
        alone = encoder.tokenize([(self.summarize, "")], max_length=WHOLE)[0].ids
        return len(alone) + len(self.blocks[1])
