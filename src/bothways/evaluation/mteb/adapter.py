"""Any encoder behind mteb 2's encoder protocol: `mteb.evaluate(MtebEncoder(encoder), tasks)`.

It implements the protocol by its methods alone; inheriting from mteb's base class would import mteb with this file. What it decides:

- side: queries go to `encode_query`, documents to `encode_document`, everything else to `encode`;
- prompt: a published instruction of the task, where `prompts` names whose; else the one stored with the encoder for this task, type
  of task or side, in mteb's own order of preference;
- batch size, precision and progress bar are handed on to encoders that take them; vectors come back as float32.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from bothways.errors import InputError, MissingExtra  # noqa: F401 - raised by load_mteb, named in the docstrings below
from bothways.evaluation.mteb.instructions import Style, styled_prompt
from bothways.evaluation.mteb.library import load_mteb
from bothways.evaluation.mteb.metadata import model_meta
from bothways.evaluation.task import RunOptions
from bothways.evaluation.tasks.sts import pair_cosines
from bothways.search.vectors import Role, as_array, encode_texts, unit

_BINARY = ("binary", "ubinary")  # sentence-transformers' names: eight signs to a byte


class MtebEncoder:
    """What mteb calls an encoder, around one of ours, a SentenceTransformer or anything with `encode(list[str])`."""

    def __init__(self, encoder: Any, *, prompts: Style | None = None, options: RunOptions | None = None) -> None:
        """Wrap an encoder.

        Args:
            encoder: has `encode`; `encode_query` and `encode_document` are used where there are any.
            prompts: whose task instructions to use ("llm2vec", "nv_embed", "e5"); None for those stored with the encoder.
            options: how to run the encoder, in place of the batch size and progress bar that mteb asks for.

        Raises:
            MissingExtra: mteb is not installed.
            InputError: the encoder has no `encode`.
        """
        load_mteb()
        if not callable(getattr(encoder, "encode", None)):
            raise InputError(f"cannot run {type(encoder).__name__} on MTEB: it has no encode(list of texts) method")
        self.model = encoder
        self.prompts: Style | None = prompts
        self.options = options
        self._instructions: dict[tuple[str, Role], str] = {}

    @cached_property
    def mteb_model_meta(self) -> Any:
        """`mteb.ModelMeta`; see `metadata.model_meta`."""
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
        """Vectors (n, d) float32 of the texts of `inputs`, in order.

        Args:
            inputs: batches, each with its texts under "text".
            task_metadata: name, type and own instruction of the task.
            hf_split: split of the task; changes nothing here.
            hf_subset: subset of the task; changes nothing here.
            prompt_type: mteb's PromptType, query or document; None in tasks without sides.
            **kwargs: `batch_size`, `precision`, `show_progress_bar`, as mteb was given them. Binary vectors, eight signs to a byte,
                are unpacked to -1 and 1, on which cosine means what the Hamming distance does.

        Raises:
            InputError: a precision for an encoder that takes none, or a result that is not (n, d) and finite.
        """
        role: Role = prompt_type.value if prompt_type is not None else "symmetric"
        texts = [text for batch in inputs for text in batch["text"]]
        settings = dict(kwargs)
        options = self.options
        if options is None:
            options = RunOptions(show_progress_bar=settings.get("show_progress_bar"))
        elif options.batch_tokens is not None or _takes(self.model, "batch_tokens"):
            settings.pop("batch_size", None)  # 32 texts, mteb's default, would cut passes that are measured in tokens
        prompt = self._prompt(task_metadata, role, prompt_type)
        vectors = encode_texts(self._bound(settings), texts, role, prompt=prompt, **options.encoding)
        return _signs(vectors, settings["precision"]) if settings.get("precision") in _BINARY else vectors

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Similarity (n, m) of (n, d) and (m, d): the encoder's own function if it names one other than cosine, else cosine."""
        if self._own_similarity():
            return torch.as_tensor(self.model.similarity(embeddings1, embeddings2))
        left, right = (torch.from_numpy(unit(np.atleast_2d(as_array(side)))) for side in (embeddings1, embeddings2))
        return left @ right.T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Similarity (n,) of row i with row i; cosines as `sts.pair_cosines` has them, so that equal pairs tie exactly."""
        if self._own_similarity():
            return torch.as_tensor(self.model.similarity_pairwise(embeddings1, embeddings2))
        left, right = (np.atleast_2d(as_array(side)) for side in (embeddings1, embeddings2))
        return torch.from_numpy(pair_cosines(left, right))

    def _own_similarity(self) -> bool:
        return getattr(self.model, "similarity_fn_name", None) not in (None, "cosine")

    def _prompt(self, task_metadata: Any, role: Role, prompt_type: Any) -> str | None:
        """The instruction; "" for none at all, None where the encoder's own method knows."""
        if self.prompts is not None:
            place = (task_metadata.name, role)
            if (
                place not in self._instructions
            ):  # a clustering task asks once for each of its sets, and the log should say it once
                self._instructions[place] = styled_prompt(
                    task_metadata.name, self.prompts, role, own=task_metadata.prompt, kind=str(task_metadata.type)
                )
            return self._instructions[place] or ("" if _takes(self.model, "prompt") else None)
        stored: Mapping[str, str] | None = getattr(self.model, "prompts", None)
        if not stored:
            return None
        from mteb.models.abs_encoder import get_prompt_name

        name = get_prompt_name(dict(stored), task_metadata, prompt_type)
        return None if name is None else stored[name]

    def _bound(self, settings: dict[str, Any]) -> Any:
        """The encoder with mteb's settings filled in, under its own class name, which error messages quote."""
        filled = {key: settings[key] for key in ("batch_size", "precision") if settings.get(key) is not None}
        if not _takes(self.model, "precision") and filled.get("precision", "float32") != "float32":
            raise InputError(f"{type(self.model).__name__} takes no precision, but {filled['precision']!r} is asked for")
        filled = {key: value for key, value in filled.items() if _takes(self.model, key)}
        methods = {name: getattr(self.model, name, None) for name in ("encode", "encode_query", "encode_document")}
        bound = {name: partial(method, **filled) for name, method in methods.items() if callable(method)}
        return type(type(self.model).__name__, (), bound)()


def _takes(encoder: Any, name: str) -> bool:
    try:
        return name in inspect.signature(encoder.encode).parameters
    except (TypeError, ValueError):  # callables written in C have no signature
        return False


def _signs(packed: np.ndarray, precision: str) -> np.ndarray:
    """-1 and 1, float32 (n, 8 b), from bytes (n, b): "ubinary" 0 to 255, "binary" the same less 128."""
    raw = packed + (128 if precision == "binary" else 0)
    return np.unpackbits(raw.astype(np.uint8), axis=1).astype(np.float32) * 2 - 1
