"""The encoder: a backbone run under an attention plan, and a pooling.

    text ─ prompt ─▶ tokens + pool mask ─ attention plan ─▶ backbone states ─ pooling ─▶ vector

As a module (`forward`) it maps packed token batches to vectors with gradient, for training. As a tool (`encode`, …) it maps texts
to numpy arrays; that part lives in `encoder.inference`. Saving lives in `encoder.folder.write`, building in `encoder.convert`.

Letters: T tokens of a pass, N texts, H hidden, D embedding.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from bothways.attention.run import Execution, hidden_states
from bothways.config import Direction, Layers
from bothways.encoder import both_vectors, inference, late_chunking, prompts
from bothways.encoder.batch import TokenBatch, TokenRow, pack
from bothways.encoder.both_vectors import Both
from bothways.encoder.chunk_spans import Chunking
from bothways.encoder.inference import TokenStates
from bothways.encoder.late_chunking import Chunks
from bothways.encoder.options import EncoderOptions
from bothways.encoder.tokenization import Text, TextTokenizer, embedding_rows
from bothways.errors import InputError

__all__ = ["Encoder", "EncoderOptions"]


class Encoder(nn.Module):
    """A decoder LLM (or an encoder-only model) as a text encoder. Made by `bothways.convert` and `bothways.load`.

    Args:
        backbone: bare transformers model without LM head, already set to `direction`.
        tokenizer: its fast tokenizer, with a padding token.
        pooling: module (states, mask, segments, rows) → (N, D).
        direction: what the backbone was set to; `bothways.doctor` proves it.
        execution: "packed" or "padded", see `attention.run`.
        options: lengths, prompts and wrapping.
        provenance: where the encoder comes from; written to bothways.json.
    """

    folder: Path | None = None  # of the backbone, when the encoder was loaded from one

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

    # --- as a module -------------------------------------------------------------------------------------------------------

    def states(self, batch: TokenBatch) -> Tensor:
        """Last hidden states (T, H) of a packed batch, in the backbone's dtype, with gradient."""
        return hidden_states(self.backbone, batch.input_ids, batch.plan, self.execution)

    @property
    def reads(self) -> Layers:
        """Which layers' states the pooling reads."""
        read: Layers = getattr(self.pooling, "reads", "last")
        return read

    def pooled_states(self, batch: TokenBatch) -> Tensor:
        """States (T, H) that the pooling reads, with gradient: `states`, unless it reads other layers too."""
        return hidden_states(self.backbone, batch.input_ids, batch.plan, self.execution, self.reads)

    def pool(self, states: Tensor, batch: TokenBatch) -> Tensor:
        """Vectors (N, D) from the states (T, H) of a batch that the pooling reads."""
        return self.pooling(states, batch.pool, batch.plan.segment_ids(states.device), batch.rows)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Vectors (N, D) float32 of a packed batch, not normalised, with gradient."""
        return self.pool(self.pooled_states(batch), batch)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.backbone.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the backbone's first parameter."""
        return next(self.backbone.parameters()).dtype

    @property
    def dimension(self) -> int:
        """D, numbers per vector."""
        return int(getattr(self.pooling, "dimension", None) or self.hidden_size)

    @property
    def hidden_size(self) -> int:
        """H, width of the backbone's states."""
        config: Any = self.backbone.config
        config = config.get_text_config() if hasattr(config, "get_text_config") else config
        return int(config.hidden_size)

    @property
    def max_length(self) -> int | None:
        """Tokens per text at most; None for no limit."""
        return self.options.max_length

    @property
    def prompts(self) -> dict[str, str]:
        """Instructions by name."""
        return self.options.prompts

    # --- texts and tokens --------------------------------------------------------------------------------------------------

    def tokenize(
        self, texts: Sequence[Text], prompt: str | None = None, max_length: int | None = None, *, first: int = 0
    ) -> list[TokenRow]:
        """Token rows of texts, see `encoder.tokenization`; `first` numbers them in error messages."""
        return self.text_tokenizer()(texts, prompt=prompt, max_length=max_length, first=first)

    def text_tokenizer(self) -> TextTokenizer:
        """What makes rows of texts, with this encoder's options as they are now."""
        options = self.options
        return TextTokenizer(
            self.tokenizer,
            max_length=options.max_length,
            pool_bos=options.pool_bos,
            pool_prompt=options.pool_prompt,
            stock_prompts=options.stock_prompts,
            wrapper=options.wrapper,
            rows=embedding_rows(self.backbone),
        )

    def pack(self, rows: Sequence[TokenRow], fill_to: int | None = None) -> TokenBatch:
        """One packed batch of rows, in this encoder's direction, on the CPU."""
        pad = self.tokenizer.pad_token_id
        return pack(rows, direction=self.direction, fill_to=fill_to, pad_id=0 if pad is None else int(pad))

    def prompt(self, prompt: str | None = None, prompt_name: str | None = None) -> str | None:
        """The instruction that a call means.

        Raises:
            InputError: a name that is not stored, listing those that are.
        """
        return prompt if prompt is not None else prompts.named(self.prompts, self.options.default_prompt, prompt_name)

    def role_prompt(self, role: Literal["query", "document"]) -> str | None:
        """The instruction of `encode_query` or `encode_document`, see `encoder.prompts`."""
        return prompts.of_role(self.prompts, self.options.default_prompt, role)

    # --- inference ---------------------------------------------------------------------------------------------------------

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
        """Vectors of texts, in input order.

        Args:
            texts: one text, or many: a list or any iterable, of unknown length if need be (read in windows, never held whole).
                Each a string, or a pair (instruction, text) whose instruction is seen and never pooled: ("Find it:", "a cat"), or
                as a list, ["Find it:", "a cat"]. A list of two strings by itself is two texts; one pair alone is a tuple.
            prompt_name: name of a stored prompt.
            prompt: instruction for all texts that bring none.
            batch_size: texts per pass at most; rarely needed, `batch_tokens` is the real unit of work.
            show_progress_bar: None for "on a terminal, when it takes long".
            precision: "float32", or "int8", "uint8", "binary", "ubinary" (sentence-transformers' quantisation).
            convert_to_tensor: a torch tensor on the CPU instead of a numpy array.
            normalize_embeddings: unit length; None for the encoder's own setting.
            truncate_dim: keep the first numbers only (before normalising).
            batch_tokens: tokens per pass; None chooses for the device. Halved by itself when memory runs out.
            convert_to_numpy: for callers written for sentence-transformers; false gives a tensor.

        Returns:
            float32 array (N, D), or (D,) for one text.

        Raises:
            InputError: an item that is no text, naming its index; a prompt name that is not stored; a number out of range.
        """
        single = _is_one(texts)
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
        """`encode` for any number of texts in constant memory: yields (texts, vectors) for every `window` texts, or fewer long ones."""
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
        """`encode` with the stored prompt "query", if there is one."""
        return self._encode_as("query", texts, options)

    def encode_document(self, texts: Text | Iterable[Text], **options: Any) -> Any:
        """`encode` with the stored prompt "document" (else "passage" or "corpus"), if there is one."""
        return self._encode_as("document", texts, options)

    def _encode_as(self, role: Literal["query", "document"], texts: Text | Iterable[Text], options: dict[str, Any]) -> Any:
        if options.get("prompt") is None and options.get("prompt_name") is None:
            options = {**options, "prompt": self.role_prompt(role)}
        return self.encode(texts, **options)

    def encode_both(self, texts: str | Iterable[str], **options: Any) -> Both:
        """Encode texts with both of LLaRA's questions in one pass; arguments and result as `both_vectors.encode_both`."""
        return both_vectors.encode_both(self, texts, **options)

    def encode_both_stream(self, texts: Iterable[str], **options: Any) -> Iterator[tuple[list[str], np.ndarray]]:
        """`encode_both` for any number of texts, window by window; see `both_vectors.encode_both_stream`."""
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
        """States of every token of every text; arguments as `encode`.

        Returns:
            For each text a `TokenStates(states (tokens, H) float32, offsets, pool, ids)`, where `offsets` are characters
            (start, end) in the text itself and (0, 0) for tokens of instruction, wrapper and specials; one, not a list, for one text.
        """
        single = _is_one(texts)
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
        """Late chunking: a vector for each passage of a document, pooled after the whole document was read.

        Args:
            texts: one document, or many.
            chunks: "sentences"; a number of tokens per chunk; or for each text a list of (start, end) characters.
            prompt: instruction, seen and not pooled.
            prompt_name: name of a stored one.
            length: tokens that are read at once, no more than the backbone has positions for; None for the encoder's `max_length`.
                Longer documents are read in windows.
            overlap: tokens that neighbouring windows share; None for a quarter.
            normalize_embeddings: unit length; None for the encoder's own setting.
            batch_tokens: tokens per pass.
            show_progress_bar: None for "on a terminal, when it takes long".

        Returns:
            For each text `Chunks(vectors (C, D) float32, spans)`; one, not a list, for one text. See `encoder.late_chunking`.

        Raises:
            InputError: chunks outside their text or without a token; windows too short for the instruction, or longer than positions.
        """
        single = _is_one(texts)
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
        """`encode_chunks` for any number of documents: yields (documents, their chunks) group by group, in order.

        A group holds `late_chunking.TOGETHER` tokens at most, or one document; other arguments as there.

        Raises:
            InputError: spans for each text, whose number nobody knows; and as there.
        """
        if not isinstance(chunks, (str, int)):
            raise InputError(
                f"chunks: must be 'sentences' or a number of tokens for a stream of texts (got {type(chunks).__name__})"
            )
        chosen = self.prompt(prompt, prompt_name)
        return late_chunking.chunk_groups(self, texts, chunks, prompt=chosen, normalize=normalize_embeddings, **options)

    def similarity(self, a: Any, b: Any) -> Tensor:
        """Cosine similarity (n, m) float32 of two sets of vectors (n, D) and (m, D); a single vector counts as one row.

        Each an array, a tensor on any device, or a list of either.
        """
        left, right = (_rows(vectors) for vectors in (a, b))
        return nn.functional.normalize(left, dim=-1) @ nn.functional.normalize(right, dim=-1).T

    # --- storage -----------------------------------------------------------------------------------------------------------

    def save(self, folder: str | os.PathLike[str], *, dtype: str | None = None, replace: bool = False) -> None:
        """Write the encoder in the sentence-transformers layout, see `encoder.folder.write.save`."""
        from bothways.encoder.folder.write import save

        save(self, folder, dtype=dtype, replace=replace)


def _is_one(texts: Any) -> bool:
    """Whether a caller gave one text (or one pair) and not many."""
    return isinstance(texts, str) or (isinstance(texts, tuple) and len(texts) == 2 and all(isinstance(t, str) for t in texts))


def _rows(vectors: Any) -> Tensor:
    if isinstance(vectors, (list, tuple)):
        vectors = torch.stack([torch.as_tensor(vector).detach().cpu() for vector in vectors])
    return torch.atleast_2d(torch.as_tensor(vectors).detach().cpu().float())
