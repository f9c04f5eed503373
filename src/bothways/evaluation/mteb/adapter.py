"""Any encoder under mteb 2's encoder protocol: `mteb.evaluate(MtebEncoder(encoder), tasks)`.

The protocol is implemented by its methods alone, because inheriting from mteb's base class would
import mteb with this file. The adapter decides:

- The side: queries go to `encode_query`, documents to `encode_document`, everything else to
  `encode`.
- The prompt: if `prompts` names a style, the published instruction of the task. Otherwise the
  prompt stored with the encoder for this task, type of task or side, in mteb's own order of
  preference.
- Batch size, precision and progress bar are passed on to encoders that accept them. Vectors are
  returned as float32.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bothways.errors import InputError, MissingExtra  # noqa: F401 - raised by load_mteb, named in the docstrings below
from bothways.evaluation.mteb.instructions import PromptStyle, styled_prompt
from bothways.evaluation.mteb.library import load_mteb
from bothways.evaluation.mteb.metadata import model_meta
from bothways.evaluation.task import RunOptions
from bothways.search.vectors import AnyEncoder, Role, SupportsEncode, as_array, encode_texts
from bothways.similarity import pair_scores, similarity_of
from bothways.similarity_names import SIMILARITIES, similarity_name

if TYPE_CHECKING:
    from mteb.models import ModelMeta

_BINARY = ("binary", "ubinary")  # sentence-transformers' names for eight signs in a byte


class MtebEncoder:
    """An encoder for mteb.

    It wraps one of our encoders, a SentenceTransformer or any object with `encode(list[str])`.
    """

    def __init__(
        self,
        encoder: AnyEncoder,
        *,
        prompts: PromptStyle | None = None,
        options: RunOptions | None = None,
    ) -> None:
        """Wrap an encoder.

        Args:
            encoder: an object with `encode`. `encode_query` and `encode_document` are used if it
                has them.
            prompts: whose task instructions to use ("llm2vec", "nv_embed", "e5"). If None, use the
                prompts stored with the encoder.
            options: how to run the encoder. They replace the batch size and progress bar that mteb
                asks for.

        Raises:
            MissingExtra: if mteb is not installed.
            InputError: if the encoder does not have `encode`.
        """
        load_mteb()
        if not callable(getattr(encoder, "encode", None)):
            raise InputError(
                f"cannot run {type(encoder).__name__} on MTEB: it does not have a method encode(list of texts)"
            )
        self.model: Any = encoder
        self.prompts: PromptStyle | None = prompts
        self.options = options
        self._instructions: dict[tuple[str, Role], str] = {}

    @cached_property
    def mteb_model_meta(self) -> ModelMeta:
        """Return the `mteb.ModelMeta` of the encoder, see `metadata.model_meta`."""
        return model_meta(self.model, self.prompts)

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """Encode the texts of `inputs`, in order, to vectors (n, d) float32.

        Args:
            inputs: batches, each with its texts under "text".
            task_metadata: name, type and own instruction of the task.
            hf_split: split of the task. It is not used.
            hf_subset: subset of the task. It is not used.
            prompt_type: mteb's PromptType, query or document. None in tasks without sides.
            **kwargs: `batch_size`, `precision` and `show_progress_bar` from mteb. Binary vectors,
                eight signs in a byte, are unpacked to -1 and 1. On these the cosine is a linear
                function of the Hamming distance.

        Raises:
            InputError: if there is a precision for an encoder that does not accept one, or if a
                result is not (n, d) and finite.
        """
        role: Role = prompt_type.value if prompt_type is not None else "symmetric"
        texts = [text for batch in inputs for text in batch["text"]]
        settings = dict(kwargs)
        options = self.options
        if options is None:
            options = RunOptions(show_progress_bar=settings.get("show_progress_bar"))
        elif options.batch_tokens is not None or _takes(self.model, "batch_tokens"):
            settings.pop(
                "batch_size", None
            )  # mteb's 32 texts would cut passes that are sized in tokens
        prompt = self._prompt(task_metadata, role, prompt_type)
        vectors = encode_texts(
            self._bound(settings), texts, role, prompt=prompt, **options.encoding
        )
        return (
            _signs(vectors, settings["precision"])
            if settings.get("precision") in _BINARY
            else vectors
        )

    def similarity(self, embeddings1: object, embeddings2: object) -> torch.Tensor:
        """Compute the similarity (n, m) of (n, d) and (m, d), as the encoder says, else cosines."""
        if self._unknown_similarity():
            return torch.as_tensor(self.model.similarity(embeddings1, embeddings2))
        left, right = (as_array(side) for side in (embeddings1, embeddings2))
        return similarity_of(left, right, similarity_name(self.model))

    def similarity_pairwise(self, embeddings1: object, embeddings2: object) -> torch.Tensor:
        """Compute the similarity (n,) of row i with row i, in float64. Equal pairs tie exactly."""
        if self._unknown_similarity():
            return torch.as_tensor(self.model.similarity_pairwise(embeddings1, embeddings2))
        left, right = (np.atleast_2d(as_array(side)) for side in (embeddings1, embeddings2))
        return torch.from_numpy(pair_scores(left, right, similarity_name(self.model)))

    def _unknown_similarity(self) -> bool:
        """Return whether the encoder names a function that only its own methods compute."""
        named = getattr(self.model, "similarity_fn_name", None)
        return getattr(named, "value", named) not in (None, *SIMILARITIES)

    def _prompt(self, task_metadata: Any, role: Role, prompt_type: Any) -> str | None:
        """Return the instruction.

        "" means none at all, and None leaves the choice to the encoder's own method.
        """
        if self.prompts is not None:
            place = (task_metadata.name, role)
            # A clustering task asks once for each of its sets, but the log should say it once.
            if place not in self._instructions:
                self._instructions[place] = styled_prompt(
                    task_metadata.name,
                    self.prompts,
                    role,
                    own=task_metadata.prompt,
                    kind=str(task_metadata.type),
                )
            return self._instructions[place] or ("" if _takes(self.model, "prompt") else None)
        stored: Mapping[str, str] | None = getattr(self.model, "prompts", None)
        if not stored:
            return None
        from mteb.models.abs_encoder import get_prompt_name

        name = get_prompt_name(dict(stored), task_metadata, prompt_type)
        return None if name is None else stored[name]

    def _bound(self, settings: dict[str, Any]) -> Any:
        """Return the encoder with mteb's settings filled in.

        It keeps its own class name, which error messages quote.
        """
        filled = {
            key: settings[key]
            for key in ("batch_size", "precision")
            if settings.get(key) is not None
        }
        if not _takes(self.model, "precision") and filled.get("precision", "float32") != "float32":
            raise InputError(
                f"{type(self.model).__name__} does not accept a precision, but {filled['precision']!r} is asked for"
            )
        filled = {key: value for key, value in filled.items() if _takes(self.model, key)}
        methods = {
            name: getattr(self.model, name, None)
            for name in ("encode", "encode_query", "encode_document")
        }
        bound = {
            name: partial(method, **filled) for name, method in methods.items() if callable(method)
        }
        return type(type(self.model).__name__, (), bound)()


def _takes(encoder: SupportsEncode, name: str) -> bool:
    try:
        return name in inspect.signature(encoder.encode).parameters
    except (TypeError, ValueError):  # callables written in C have no signature
        return False


def _signs(packed: np.ndarray, precision: str) -> np.ndarray:
    """Unpack bytes (n, b) to -1 and 1, float32 (n, 8 b).

    "ubinary" bytes are 0 to 255, "binary" bytes are smaller by 128.
    """
    raw = packed + (128 if precision == "binary" else 0)
    return np.unpackbits(raw.astype(np.uint8), axis=1).astype(np.float32) * 2 - 1
