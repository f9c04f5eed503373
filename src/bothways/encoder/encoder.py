"""The encoder as a tool: `encode` and its siblings for tokens, chunks and LLaRA's two questions.

Open it to see which methods an encoder has. `encoder.module` holds the backbone and the steps from
text to vector, and `encoder.text_encoder` has `encode`. Each other method is a call of the file
that does the work. `encoder.convert` and `encoder.load` make encoders.

Letters: N texts, H hidden, D embedding.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import numpy as np

from bothways.encoder import both_vectors, inference
from bothways.encoder.both_vectors import Both
from bothways.encoder.chunks import late_chunking
from bothways.encoder.chunks.chunk_spans import CharacterSpan, Chunking
from bothways.encoder.chunks.late_chunking import Chunks
from bothways.encoder.encode_types import ChunkKeywords, OneText, TokenKeywords
from bothways.encoder.folder import write
from bothways.encoder.inference import TokenStates
from bothways.encoder.options import EncoderOptions
from bothways.encoder.text_encoder import TextEncoder
from bothways.encoder.texts.tokenization import Text
from bothways.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Encoder", "EncoderOptions"]


class Encoder(TextEncoder):
    """A decoder LLM (or an encoder-only model) as a text encoder.

    Use `bothways.convert` or `bothways.load` to make one. Its arguments are those of
    `EncoderModule`. For example:

        encoder = bothways.load("out/simcse")
        documents = encoder.encode_document(["Cats sleep all day.", "Dogs bark."])
        encoder.similarity(encoder.encode_query("Who sleeps?"), documents)
    """

    def encode_both(self, texts: str | Iterable[str], **options: Any) -> Both:
        """Encode texts with both LLaRA questions in one pass, see `both_vectors.encode_both`.

        For example, `encode_both(texts).ebae` holds the vectors (N, D) of the texts as documents.
        """
        return both_vectors.encode_both(self, texts, **options)

    def encode_both_stream(
        self, texts: Iterable[str], **options: Any
    ) -> Iterator[tuple[list[str], np.ndarray]]:
        """Encode any number of texts with both questions, see `both_vectors.encode_both_stream`."""
        return both_vectors.encode_both_stream(self, texts, **options)

    @overload
    def encode_tokens(  # type: ignore[overload-overlap]
        self, texts: OneText, **options: Unpack[TokenKeywords]
    ) -> TokenStates: ...

    @overload
    def encode_tokens(
        self, texts: Iterable[Text], **options: Unpack[TokenKeywords]
    ) -> list[TokenStates]: ...

    def encode_tokens(
        self,
        texts: Text | Iterable[Text],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        batch_tokens: int | None = None,
        show_progress_bar: bool | None = None,
    ) -> TokenStates | list[TokenStates]:
        """Compute the states of every token of every text. Arguments are those of `encode`.

        For example, `encode_tokens("a cat").states` has a row for each token.

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

    @overload
    def encode_chunks(  # type: ignore[overload-overlap]
        self,
        texts: OneText,
        chunks: Chunking | Sequence[CharacterSpan] = ...,
        **options: Unpack[ChunkKeywords],
    ) -> Chunks: ...

    @overload
    def encode_chunks(
        self, texts: Sequence[Text], chunks: Chunking = ..., **options: Unpack[ChunkKeywords]
    ) -> list[Chunks]: ...

    def encode_chunks(
        self,
        texts: Text | Sequence[Text],
        chunks: Chunking | Sequence[CharacterSpan] = "sentences",
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        length: int | None = None,
        overlap: int | None = None,
        normalize_embeddings: bool | None = None,
        batch_tokens: int | None = None,
        show_progress_bar: bool | None = None,
    ) -> Chunks | list[Chunks]:
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
        own = single and not isinstance(chunks, (str, int, np.integer))  # the spans of the one text
        found = late_chunking.encode_chunks(
            self,
            [texts] if single else list(texts),  # type: ignore[list-item]
            cast(Chunking, [chunks] if own else chunks),
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

        For example, `for documents, found in encoder.encode_chunks_stream(books, 128): …`.

        Yields (documents, their chunks) by group, in order. A group has at most
        `late_chunking.TOGETHER` tokens, or is one document. Other arguments are those of
        `encode_chunks`.

        Raises:
            InputError: spans for each text, because the number of texts is unknown. Also the errors
                of `encode_chunks`.
        """
        if not isinstance(chunks, (str, int)):
            raise InputError(
                f"chunks: a stream of texts takes 'sentences' or a number of tokens (got {type(chunks).__name__})"
            )
        chosen = self.prompt(prompt, prompt_name)
        return late_chunking.chunk_groups(
            self, texts, chunks, prompt=chosen, normalize=normalize_embeddings, **options
        )

    def save(
        self, folder: str | os.PathLike[str], *, dtype: str | None = None, replace: bool = False
    ) -> None:
        """Write the encoder as a sentence-transformers folder, see `encoder.folder.write.save`.

        For example, `save("out/encoder", dtype="bfloat16")`.
        """
        write.save(self, folder, dtype=dtype, replace=replace)
