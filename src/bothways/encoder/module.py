"""The encoder as a module: a backbone that runs under an attention plan, and a pooling.

    text ─ prompt ─▶ tokens + pool mask ─ attention plan ─▶ backbone states ─ pooling ─▶ vector

Open it to see how rows of tokens become vectors with gradient, as in training. `encoder.encoder`
adds the methods that take texts and return arrays.

Letters: T tokens of a pass, N texts, H hidden, D embedding.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from bothways.attention.positions import table_positions
from bothways.attention.run import Execution, hidden_states
from bothways.attention.text_config import state_width
from bothways.config import Direction, PooledLayers
from bothways.encoder.batch import TokenBatch, TokenRow, pack
from bothways.encoder.options import EncoderOptions
from bothways.encoder.texts import prompts
from bothways.encoder.texts.embedding_rows import embedding_rows
from bothways.encoder.texts.tokenization import Text, TextTokenizer, least


class EncoderModule(nn.Module):
    """The parts of an encoder: backbone, tokenizer and pooling, with the steps from text to vector.

    `Encoder` is a module of this class with methods that take texts. Functions that need only the
    steps take this class.

    Args:
        backbone: bare transformers model without LM head, already set to `direction`.
        tokenizer: the model's fast tokenizer, with a padding token.
        pooling: module (states, mask, segments, rows) → (N, D).
        direction: the direction of the backbone. `bothways.doctor` proves it.
        execution: "packed" or "padded", see `attention.run`.
        options: lengths, prompts and wrapping.
        provenance: the origin of the encoder, which is written to bothways.json.
    """

    folder: Path | None = None  # of the backbone, if the encoder was loaded from one
    quantized: Any = None  # the account of `encoder.int8.quantize`, if its layers are in int8
    graph: Any = None  # computes short requests, see `exports.graphs.short.short_passes`

    def __init__(
        self,
        backbone: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        pooling: nn.Module,
        *,
        direction: Direction,
        execution: Execution = "packed",
        options: EncoderOptions | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.direction: Direction = direction
        self.execution: Execution = execution
        self.options = options or EncoderOptions()
        self.warned_prompts: set[str] = set()  # see `encoder.texts.boundary`
        self.provenance: dict[str, Any] = dict(provenance or {})

    def states(self, batch: TokenBatch) -> Tensor:
        """Compute last hidden states (T, H), with gradient, in the backbone's dtype."""
        return hidden_states(self.backbone, batch.input_ids, batch.plan, self.execution)

    @property
    def reads(self) -> PooledLayers:
        """The layers that the pooling reads."""
        return getattr(self.pooling, "reads", "last")

    def pooled_states(self, batch: TokenBatch) -> Tensor:
        """Compute the states (T, H) that the pooling reads, with gradient."""
        return hidden_states(self.backbone, batch.input_ids, batch.plan, self.execution, self.reads)

    def pool(self, states: Tensor, batch: TokenBatch) -> Tensor:
        """Compute vectors (N, D) from the states (T, H) of a batch that the pooling reads."""
        vectors: Tensor = self.pooling(
            states, batch.pool, batch.plan.segment_ids(states.device), batch.rows
        )
        return vectors

    def forward(self, batch: TokenBatch) -> Tensor:
        """Compute vectors (N, D) float32 of a packed batch, not normalized, with gradient."""
        return self.pool(self.pooled_states(batch), batch)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.backbone.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the backbone's first parameter."""
        return next(self.backbone.parameters()).dtype

    @property
    def dimension(self) -> int:
        """D, the number of values in a vector."""
        return int(getattr(self.pooling, "dimension", None) or self.hidden_size)

    @property
    def hidden_size(self) -> int:
        """H, width of the backbone's states."""
        return state_width(self.backbone)

    @functools.cached_property
    def _table(self) -> int | None:
        return table_positions(self.backbone)

    @property
    def max_length(self) -> int | None:
        """Maximum number of tokens per text, at most those of a table of positions, or None."""
        return least(self.options.max_length, self._table)

    @property
    def prompts(self) -> dict[str, str]:
        """Instructions by name."""
        return self.options.prompts

    def tokenize(
        self,
        texts: Sequence[Text],
        prompt: str | None = None,
        max_length: int | None = None,
        *,
        first: int = 0,
    ) -> list[TokenRow]:
        """Make token rows of texts. `first` is the first one's number in error messages."""
        return self.text_tokenizer()(texts, prompt=prompt, max_length=max_length, first=first)

    def text_tokenizer(self) -> TextTokenizer:
        """Build the object that makes rows of texts, with this encoder's present options."""
        options = self.options
        return TextTokenizer(
            self.tokenizer,
            max_length=self.max_length,
            most=self._table,
            pool_bos=options.pool_bos,
            pool_prompt=options.pool_prompt,
            stock_prompts=options.stock_prompts,
            wrapper=options.wrapper,
            rows=self.embedding_rows(),
        )

    def embedding_rows(self) -> int | None:
        """Return the number of tokens that the backbone has embeddings for, or None if unknown."""
        return embedding_rows(self.backbone)

    def pack(self, rows: Sequence[TokenRow], fill_to: int | None = None) -> TokenBatch:
        """Pack rows into one batch, in this encoder's direction, on the CPU."""
        pad = self.tokenizer.pad_token_id
        return pack(
            rows, direction=self.direction, fill_to=fill_to, pad_id=0 if pad is None else int(pad)
        )

    def prompt(self, prompt: str | None = None, prompt_name: str | None = None) -> str | None:
        """Find the instruction for a call.

        Raises:
            InputError: the name is not stored. The message lists the names that are.
        """
        return (
            prompt
            if prompt is not None
            else prompts.named(self.prompts, self.options.default_prompt, prompt_name)
        )

    def role_prompt(self, role: Literal["query", "document"]) -> str | None:
        """Find the instruction of `encode_query` or `encode_document`, see `texts.prompts`."""
        return prompts.of_role(self.prompts, self.options.default_prompt, role)
