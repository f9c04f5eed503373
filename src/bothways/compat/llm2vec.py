"""`LLM2Vec` with the interface of the llm2vec package, over an encoder of ours.

Open it for a script that was written for LLM2Vec. Only its import changes:

    from bothways.compat import LLM2Vec

    base = "meta-llama/Meta-Llama-3-8B-Instruct"
    l2v = LLM2Vec.from_pretrained(base, peft_model_name_or_path="out/mntp")
    queries = l2v.encode([["Find the answer:", "how high is a mountain"]])

Names and defaults are those of llm2vec 0.2.3 (https://github.com/McGill-NLP/llm2vec). Adapters are
merged in float32 when they are loaded, so `merge_peft` changes only what `save` writes. The encoder
itself, with its other methods, is `l2v.encoder`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from bothways.atomic import atomic_folder
from bothways.attention.plan import Direction
from bothways.attention.text_config import text_configs
from bothways.backbone.adapter.adapter_files import copy_adapter
from bothways.compat.arguments import (
    SETTINGS,
    check_arguments,
    device_of,
    read_dtype,
    token_for_hub,
)
from bothways.compat.opening import open_loaded, open_named
from bothways.encoder.encode_types import Vectors
from bothways.encoder.encoder import Encoder, EncoderOptions
from bothways.encoder.folder import llm2vec as llm2vec_folder
from bothways.encoder.folder.adapter_settings import (
    DOC_MAX_LENGTH,
    MODES,
    save_tokenizer,
    write_adapter_settings,
    write_json,
)
from bothways.encoder.folder.llm2vec_texts import text_wrapper
from bothways.encoder.texts.tokenization import Text
from bothways.encoder.texts.wrapping import Wrapper
from bothways.errors import InputError
from bothways.folder_files import LLM2VEC, OURS
from bothways.pooling import Pooling

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

Sentences = str | Sequence[str] | Sequence[Sequence[str | int]] | np.ndarray[Any, Any]
"""A text, texts, or pairs [instruction, text]."""


class LLM2Vec(nn.Module):
    """A text encoder with the interface of LLM2Vec.

    Use `from_pretrained`, or give a model and its tokenizer.

    Args:
        model: an `Encoder`, or a bare decoder of transformers, which is made bidirectional in
            place. If it is inside a PeftModel, the adapter is merged.
        tokenizer: the decoder's fast tokenizer. None for an `Encoder`.
        pooling_mode: "mean", "weighted_mean", "eos_token", "last_token" or "bos_token". If None, an
            encoder's own, else "mean".
        max_length: maximum tokens of a text. If None, an encoder's own, else 512.
        doc_max_length: maximum tokens of a text without its instruction. Words at the end of a
            longer text are left out.
        skip_instruction: if True, do not pool the instruction. If False, pool all tokens.
    """

    pooling_mode: str
    doc_max_length: int
    skip_instruction: bool
    adapter: Path | None

    def __init__(
        self,
        model: PreTrainedModel | Encoder,
        tokenizer: PreTrainedTokenizerBase | None = None,
        pooling_mode: str | None = None,
        max_length: int | None = None,
        doc_max_length: int = DOC_MAX_LENGTH,
        skip_instruction: bool = True,
    ) -> None:
        super().__init__()
        self.encoder = model if isinstance(model, Encoder) else open_loaded(model, tokenizer)
        self.doc_max_length = int(doc_max_length)
        self.adapter = None
        self._read_as_llm2vec(pooling_mode)
        own = str(self.encoder.pooling.mode)
        self.pooling_mode = pooling_mode or MODES.get(own, own)
        if max_length is not None:
            self.max_length = max_length
        self.skip_instruction = skip_instruction
        if not skip_instruction:
            self.encoder.options.pool_prompt = self.encoder.options.pool_bos = True

    @classmethod
    def from_pretrained(
        cls,
        base_model_name_or_path: str | os.PathLike[str],
        peft_model_name_or_path: str | os.PathLike[str] | None = None,
        merge_peft: bool = False,
        enable_bidirectional: bool = True,
        **kwargs: Any,
    ) -> LLM2Vec:
        """Load a base model, or an encoder, and an adapter over it.

        Args:
            base_model_name_or_path: hub id or folder of a base LLM, of a published LLM2Vec model,
                or of `bothways train`.
            peft_model_name_or_path: hub id or folder of an adapter to merge, or the output folder
                of a run.
            merge_peft: if True, `save` writes the merged model. If False, it writes the adapter.
            enable_bidirectional: if False, the attention stays causal.
            **kwargs: pooling_mode, max_length, doc_max_length and skip_instruction as in the class.
                torch_dtype or dtype ("auto" for the checkpoint's own, float32 if not given).
                device_map (one device). token. Other arguments of transformers are accepted if they
                do not change a vector.

        Raises:
            InputError: if an argument is unknown or not supported, or the adapter does not fit.
            SourceError: if a model cannot be found or reached.
        """
        check_arguments(kwargs)
        device = device_of(kwargs.pop("device_map", None))
        dtype = read_dtype(
            kwargs.pop("dtype", None) or kwargs.pop("torch_dtype", None), base_model_name_or_path
        )
        direction: Direction = "bidirectional" if enable_bidirectional else "causal"
        settings = {key: kwargs[key] for key in SETTINGS if kwargs.get(key) is not None}
        with token_for_hub(kwargs.get("token")):
            encoder = open_named(
                base_model_name_or_path, peft_model_name_or_path, direction, device, dtype
            )
            made = cls(encoder, **settings)
            if peft_model_name_or_path is not None and not merge_peft:
                made.adapter = llm2vec_folder.find_adapter(peft_model_name_or_path)
        return made

    @property
    def model(self) -> nn.Module:
        """The bare decoder of transformers."""
        return self.encoder.backbone

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The decoder's tokenizer."""
        return self.encoder.tokenizer

    @property
    def config(self) -> PretrainedConfig:
        """The decoder's config."""
        return cast("PretrainedConfig", self.model.config)

    @property
    def max_length(self) -> int | None:
        """Maximum tokens of a text."""
        return self.encoder.options.max_length

    @max_length.setter
    def max_length(self, value: int) -> None:
        """Read at most so many tokens of a text from now on."""
        self.encoder.options.max_length = int(value)

    @overload
    def encode(
        self,
        sentences: Sentences,
        batch_size: int = ...,
        show_progress_bar: bool = ...,
        convert_to_numpy: Literal[False] = ...,
        convert_to_tensor: bool = ...,
        device: str | torch.device | None = ...,
    ) -> Tensor: ...

    @overload
    def encode(
        self,
        sentences: Sentences,
        batch_size: int = ...,
        show_progress_bar: bool = ...,
        *,
        convert_to_numpy: Literal[True],
        convert_to_tensor: Literal[False] = ...,
        device: str | torch.device | None = ...,
    ) -> Vectors: ...

    @overload
    def encode(
        self,
        sentences: Sentences,
        batch_size: int = ...,
        show_progress_bar: bool = ...,
        convert_to_numpy: bool = ...,
        convert_to_tensor: bool = ...,
        device: str | torch.device | None = ...,
    ) -> Vectors | Tensor: ...

    def encode(
        self,
        sentences: Sentences,
        batch_size: int = 32,
        show_progress_bar: bool = True,
        convert_to_numpy: bool = False,
        convert_to_tensor: bool = False,
        device: str | torch.device | None = None,
    ) -> Vectors | Tensor:
        """Encode texts, or pairs of an instruction and a text.

        Args:
            sentences: a list of strings or of pairs [instruction, text], for example
                [["Find the answer:", "how high is a mountain"]]. A single string is one text (the
                package would encode each of its letters).
            batch_size: maximum texts of one pass.
            show_progress_bar: if True, show progress.
            convert_to_numpy: if True, return a numpy array.
            convert_to_tensor: if True, return a tensor. This is the default.
            device: device to compute on. If None, a GPU if there is one, else the CPU.

        Returns:
            (N, D) float32 on the CPU, not normalized.

        Raises:
            InputError: if an item is neither a string nor a pair.
        """
        self.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.eval()
        texts = [self._text(item, index) for index, item in enumerate(_items(sentences))]
        vectors = self.encoder.encode(
            texts,
            batch_size=batch_size,
            show_progress_bar=None if show_progress_bar else False,
            normalize_embeddings=False,
        )
        return vectors if convert_to_numpy and not convert_to_tensor else torch.from_numpy(vectors)

    def forward(self, sentences: Sentences) -> Tensor:
        """Compute vectors (N, D) with gradient, of texts or pairs as in `encode`."""
        texts = [self._text(item, index) for index, item in enumerate(_items(sentences))]
        found: Tensor = self.encoder(
            self.encoder.pack(self.encoder.tokenize(texts)).to(self.encoder.device)
        )
        return found

    def save(
        self,
        output_path: str | os.PathLike[str],
        merge_before_save: bool = False,
        save_config: bool = True,
    ) -> None:
        """Write the adapter and its settings, or the whole encoder.

        The adapter is written if one was loaded and is not merged.

        Args:
            output_path: a folder that is new, empty, or was written by this method.
            merge_before_save: if True, write the whole encoder, with the adapter merged.
            save_config: if True, write `llm2vec_config.json` as well.

        Raises:
            InputError: if the folder has other files.
        """
        target = Path(output_path)
        ours = any((target / name).is_file() for name in (LLM2VEC, OURS))
        if self.adapter is None or merge_before_save:
            self.encoder.save(target, replace=ours)
            if save_config:
                write_json(target / LLM2VEC, self._settings())
            return
        with atomic_folder(target, replace=ours) as part:
            copy_adapter(self.adapter, part)
            if (part / OURS).is_file():
                # an adapter of ours stores how vectors are read, which may have been changed since
                write_adapter_settings(self.encoder, part, pooling=self.pooling_mode)
            else:
                save_tokenizer(self.encoder, part)
            if save_config:
                write_json(part / LLM2VEC, self._settings())

    def _settings(self) -> dict[str, Any]:
        return {
            "pooling_mode": self.pooling_mode,
            "max_length": self.max_length,
            "doc_max_length": self.doc_max_length,
            "skip_instruction": self.skip_instruction,
        }

    def _read_as_llm2vec(self, mode: str | None) -> None:
        """Pool by this mode, and put the texts into LLM2Vec's wrapper.

        An encoder's own wrapper stays, because the encoder was trained with it.
        """
        options: EncoderOptions = self.encoder.options
        if mode is not None:
            self.encoder.pooling = Pooling(mode).to(self.encoder.device)
        pools_bos = self.encoder.pooling.mode == "bos"
        # BOS comes before the instruction, and is the only token that "bos" pools
        options.pool_bos = pools_bos
        options.pool_prompt = pools_bos or options.pool_prompt
        model: Any = self.encoder.backbone
        base = str(self.encoder.provenance.get("base", ""))
        family = next(text_configs(model)).model_type
        plain, ended = (text_wrapper(base, eos=eos, model_type=family) for eos in (False, True))
        if options.wrapper in (plain, ended, Wrapper()):
            eos = mode == "eos_token" or (mode is None and options.wrapper == ended)
            options.wrapper = ended if eos else plain

    def _text(self, item: object, index: int) -> Text:
        """Return a text, or a pair of instruction and text, for the encoder."""
        if isinstance(item, str):
            return self._shortened(item)
        parts = list(item) if isinstance(item, (list, tuple, np.ndarray)) else []
        if len(parts) < 2 or not all(isinstance(part, str) for part in parts[:2]):
            raise InputError(
                f"sentences[{index}]: must be a string or a pair [instruction, text] of strings (got {item!r:.60})"
            )
        instruction, text = str(parts[0]).strip(), self._shortened(str(parts[1]))
        return (instruction, text) if instruction else text

    def _shortened(self, text: str) -> str:
        """Leave out words at the end of a text that is too long.

        This counts as LLM2Vec does. It sees at most `max_length` tokens of a text, and leaves out
        words in proportion until there are `doc_max_length`. In the package a text without white
        space would become empty. Here it is cut at a token.
        """
        count, end = self._count(text)
        if count <= self.doc_max_length:
            return text
        whole = text
        while count > self.doc_max_length:
            words = text.split()
            text = " ".join(words[: int(len(words) * (self.doc_max_length / count))])
            count, _ = self._count(text)
        return text or whole[:end]

    def _count(self, text: str) -> tuple[int, int]:
        """Count the tokens, at most `max_length`, and find the end of token `doc_max_length`."""
        offsets = self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )["offset_mapping"]
        end = (
            offsets[self.doc_max_length - 1][1]
            if len(offsets) >= self.doc_max_length > 0
            else len(text)
        )
        return min(len(offsets), self.max_length or len(offsets)), end


def _items(sentences: Sentences) -> list[Any]:
    """Return the texts and pairs of a call. MEDI's [instruction, text, number] is one pair."""
    if isinstance(sentences, str):
        return [sentences]
    items = list(sentences)
    if items and isinstance(items[0], str) and isinstance(items[-1], int):
        return [items[:2]]
    return items
