"""The encoder: a backbone that runs under an attention plan, and a pooling.

    text ─ prompt ─▶ tokens + pool mask ─ attention plan ─▶ backbone states ─ pooling ─▶ vector

As a module (`forward`) it maps packed token batches to vectors with gradient, for training. As a
tool (`encode`, …) it maps texts to numpy arrays, see `encoder.inference`. Saving is in
`encoder.folder.write`, building in `encoder.convert`.

Letters: T tokens of a pass, N texts, H hidden, D embedding.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from bothways.attention.positions import table_positions
from bothways.attention.run import Execution, hidden_states
from bothways.config import Direction, Layers
from bothways.encoder import both_vectors, inference, late_chunking, prompts
from bothways.encoder.batch import TokenBatch, TokenRow, pack
from bothways.encoder.both_vectors import Both
from bothways.encoder.chunk_spans import Chunking
from bothways.encoder.embedding_rows import embedding_rows
from bothways.encoder.inference import TokenStates
from bothways.encoder.late_chunking import Chunks
from bothways.encoder.options import EncoderOptions
from bothways.encoder.similarity import cosine_similarity
from bothways.encoder.tokenization import Text, TextTokenizer, least
from bothways.errors import InputError

__all__ = ["Encoder", "EncoderOptions"]


class Encoder(nn.Module):
    """A decoder LLM (or an encoder-only model) as a text encoder.

    Use `bothways.convert` or `bothways.load` to make one.

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
        self.warned_prompts: set[str] = set()  # see `encoder.boundary`
        self.provenance: dict[str, Any] = dict(provenance or {})

    def states(self, batch: TokenBatch) -> Tensor:
        """Compute last hidden states (T, H), with gradient, in the backbone's dtype."""
        return hidden_states(self.backbone, batch.input_ids, batch.plan, self.execution)

    @property
    def reads(self) -> Layers:
        """The layers that the pooling reads."""
        return getattr(self.pooling, "reads", "last")

    def pooled_states(self, batch: TokenBatch) -> Tensor:
        """Compute the states (T, H) that the pooling reads, with gradient."""
        return hidden_states(self.backbone, batch.input_ids, batch.plan, self.execution, self.reads)

    def pool(self, states: Tensor, batch: TokenBatch) -> Tensor:
        """Compute vectors (N, D) from the states (T, H) of a batch that the pooling reads."""
        return self.pooling(states, batch.pool, batch.plan.segment_ids(states.device), batch.rows)

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
        config: Any = self.backbone.config
        return int(getattr(config, "get_text_config", lambda: config)().hidden_size)

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
        self, texts: Sequence[Text], prompt: str | None = None, max_length: int | None = None, *, first: int = 0
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
            rows=embedding_rows(self.backbone),
        )

    def pack(self, rows: Sequence[TokenRow], fill_to: int | None = None) -> TokenBatch:
        """Pack rows into one batch, in this encoder's direction, on the CPU."""
        pad = self.tokenizer.pad_token_id
        return pack(rows, direction=self.direction, fill_to=fill_to, pad_id=0 if pad is None else int(pad))

    def prompt(self, prompt: str | None = None, prompt_name: str | None = None) -> str | None:
        """Find the instruction for a call.

        Raises:
            InputError: the name is not stored. The message lists the names that are.
        """
        return prompt if prompt is not None else prompts.named(self.prompts, self.options.default_prompt, prompt_name)

    def role_prompt(self, role: Literal["query", "document"]) -> str | None:
        """Find the instruction of `encode_query` or `encode_document`, see `encoder.prompts`."""
        return prompts.of_role(self.prompts, self.options.default_prompt, role)

    def encode(
        self,
        texts: Text | Iterable[Text],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        precision: inference.Precision = "float32",
        convert_to_tensor: bool = False,
        normalize_embeddings: bool | None = None,
        truncate_dim: int | None = None,
        batch_tokens: int | None = None,
        convert_to_numpy: bool = True,
    ) -> Any:
        """Encode texts to vectors, in input order.

        For example, `encode(["a cat", ("Find it:", "a dog")])` returns an array of two rows.

        Args:
            texts: one text, or a list or any other iterable of texts. A long iterable is read in
                windows and never held whole. Each text is a string, or a pair (instruction, text)
                whose instruction is seen but not pooled: ("Find it:", "a cat"), or as a list,
                ["Find it:", "a cat"]. A list of two strings by itself is two texts, so write a
                single pair as a tuple.
            prompt_name: name of a stored prompt.
            prompt: instruction for all texts that have none of their own.
            batch_size: maximum number of texts per pass. Rarely needed, because `batch_tokens` is
                the real unit of work.
            show_progress_bar: if None, show it on a terminal when encoding takes long.
            precision: "float32", or "int8", "uint8", "binary", "ubinary" (sentence-transformers'
                quantization).
            convert_to_tensor: return a torch tensor on the CPU instead of a numpy array.
            normalize_embeddings: return unit vectors. If None, use the encoder's own setting.
            truncate_dim: keep only this many leading numbers, then normalize. sentence-transformers
                6 cuts last, and needs normalize_embeddings=True for the same unit vectors.
            batch_tokens: tokens per pass. If None, a number that suits the device. It is halved
                automatically when memory runs out.
            convert_to_numpy: for callers written for sentence-transformers. If False, return a
                tensor.

        Returns:
            Array (N, D), or (D,) for one text, in float32 unless `precision` says otherwise.

        Raises:
            InputError: an item is not a text (the message gives its index), a prompt name is not
                stored, or a number is out of range.
        """
        single = inference.is_one(texts)
        items: Iterable[Text] = [texts] if single else texts  # type: ignore[list-item]
        settings = self._settings(prompt_name, prompt, batch_size, normalize_embeddings, truncate_dim, batch_tokens)
        parts = [part for _, part in inference.encode_windows(self, items, settings, show=show_progress_bar)]
        empty = np.empty((0, truncate_dim or self.dimension), dtype=np.float32)
        result = inference.quantize(parts[0] if len(parts) == 1 else np.concatenate([empty, *parts]), precision)
        result = result[0] if single else result
        return torch.from_numpy(result) if convert_to_tensor or not convert_to_numpy else result

    def encode_stream(
        self,
        texts: Iterable[Text],
        *,
        window: int = inference.WINDOW,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool | None = None,
        truncate_dim: int | None = None,
        batch_tokens: int | None = None,
    ) -> Iterator[tuple[list[Text], np.ndarray]]:
        """Encode a stream: yields (texts, vectors) for every `window` texts, or fewer long ones."""
        settings = self._settings(prompt_name, prompt, batch_size, normalize_embeddings, truncate_dim, batch_tokens)
        return inference.encode_windows(self, texts, settings, show=show_progress_bar, window=window)

    def _settings(
        self,
        prompt_name: str | None,
        prompt: str | None,
        batch_size: int | None,
        normalize: bool | None,
        truncate_dim: int | None,
        batch_tokens: int | None,
    ) -> inference.Settings:
        settings = inference.Settings(
            prompt=self.prompt(prompt, prompt_name),
            batch_size=batch_size,
            batch_tokens=batch_tokens,
            normalize=self.options.normalize if normalize is None else normalize,
            truncate_dim=truncate_dim,
        )
        settings.check(self.dimension)
        return settings

    def encode_query(self, texts: Text | Iterable[Text], **options: Any) -> Any:
        """Encode with the stored prompt "query", if there is one. Arguments as in `encode`."""
        return self._encode_as("query", texts, options)

    def encode_document(self, texts: Text | Iterable[Text], **options: Any) -> Any:
        """Encode with the stored prompt "document" (else "passage" or "corpus"), if any."""
        return self._encode_as("document", texts, options)

    def _encode_as(self, role: Literal["query", "document"], texts: Text | Iterable[Text], options: dict[str, Any]) -> Any:
        if options.get("prompt") is None and options.get("prompt_name") is None:
            options = {**options, "prompt": self.role_prompt(role)}
        return self.encode(texts, **options)

    def encode_both(self, texts: str | Iterable[str], **options: Any) -> Both:
        """Encode texts with both LLaRA questions in one pass, see `both_vectors.encode_both`."""
        return both_vectors.encode_both(self, texts, **options)

    def encode_both_stream(self, texts: Iterable[str], **options: Any) -> Iterator[tuple[list[str], np.ndarray]]:
        """Encode any number of texts with both questions, see `both_vectors.encode_both_stream`."""
        return both_vectors.encode_both_stream(self, texts, **options)

    def encode_tokens(
        self,
        texts: Text | Iterable[Text],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        batch_tokens: int | None = None,
        show_progress_bar: bool | None = None,
    ) -> Any:
        """Compute the states of every token of every text. Arguments are those of `encode`.

        Returns:
            For each text a `TokenStates(states (tokens, H) float32, offsets, pool, ids)`. `offsets`
                are characters (start, end) in the text itself, and (0, 0) for special tokens and
                tokens of instruction and wrapper. For one text, a single `TokenStates` and not a
                list.
        """
        single = inference.is_one(texts)
        items: Sequence[Text] = [texts] if single else list(texts)  # type: ignore[list-item]
        found: list[TokenStates] = inference.encode_tokens(
            self,
            items,
            prompt=self.prompt(prompt, prompt_name),
            batch_tokens=batch_tokens,
            show_progress_bar=show_progress_bar,
        )
        return found[0] if single else found

    def encode_chunks(
        self,
        texts: Text | Sequence[Text],
        chunks: Chunking = "sentences",
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        length: int | None = None,
        overlap: int | None = None,
        normalize_embeddings: bool | None = None,
        batch_tokens: int | None = None,
        show_progress_bar: bool | None = None,
    ) -> Any:
        """Encode each passage of a document after reading all of it (late chunking).

        For example, `encode_chunks(book, 128)` gives a vector for every 128 tokens of the text
        `book`.

        Args:
            texts: one document, or several.
            chunks: "sentences", a number of tokens per chunk, or for each text a list of (start,
                end) characters, for example [(0, 120), (120, 300)].
            prompt: instruction, which is seen but not pooled.
            prompt_name: name of a stored prompt.
            length: tokens per window, at most the number of the backbone's positions. If None, use
                the encoder's `max_length`. Longer documents are read in several windows.
            overlap: tokens that neighboring windows share. If None, a quarter of the room for text.
            normalize_embeddings: see `encode`.
            batch_tokens: see `encode`.
            show_progress_bar: see `encode`.

        Returns:
            A list of `Chunks(vectors (C, D) float32, spans)`, or for one text, its `Chunks`.

        Raises:
            InputError: chunks are outside their text or contain no token, or windows are too short
                for the instruction or longer than the backbone's positions.
        """
        single = inference.is_one(texts)
        found = late_chunking.encode_chunks(
            self,
            [texts] if single else list(texts),  # type: ignore[list-item]
            [chunks] if single and not isinstance(chunks, (str, int, np.integer)) else chunks,  # type: ignore[list-item]
            prompt=self.prompt(prompt, prompt_name),
            length=length,
            overlap=overlap,
            normalize=normalize_embeddings,
            batch_tokens=batch_tokens,
            show_progress_bar=show_progress_bar,
        )
        return found[0] if single else found

    def encode_chunks_stream(
        self,
        texts: Iterable[Text],
        chunks: int | Literal["sentences"] = "sentences",
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        normalize_embeddings: bool | None = None,
        **options: Any,
    ) -> Iterator[tuple[list[Text], list[Chunks]]]:
        """Encode chunks of any number of documents.

        Yields (documents, their chunks) by group, in order. A group has at most
        `late_chunking.TOGETHER` tokens, or is one document. Other arguments are those of
        `encode_chunks`.

        Raises:
            InputError: spans for each text, because the number of texts is unknown. Also the errors
                of `encode_chunks`.
        """
        if not isinstance(chunks, (str, int)):
            raise InputError(f"chunks: a stream of texts takes 'sentences' or a number of tokens (got {type(chunks).__name__})")
        chosen = self.prompt(prompt, prompt_name)
        return late_chunking.chunk_groups(self, texts, chunks, prompt=chosen, normalize=normalize_embeddings, **options)

    def similarity(self, a: Any, b: Any) -> Tensor:
        """Compute cosine similarities (n, m) of (n, D) and (m, D), see `cosine_similarity`."""
        return cosine_similarity(a, b)

    def save(self, folder: str | os.PathLike[str], *, dtype: str | None = None, replace: bool = False) -> None:
        """Write the encoder as a sentence-transformers folder, see `encoder.folder.write.save`."""
        from bothways.encoder.folder.write import save

        save(self, folder, dtype=dtype, replace=replace)
