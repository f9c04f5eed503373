"""The settings next to an adapter that say how vectors are read from base and adapter.

    bothways.json          key "encoder": direction, pooling, lengths, prompts, wrapper
    llm2vec_config.json    the part of it that LLM2Vec knows, so that LLM2Vec's
                           `peft_model_name_or_path` takes the folder too
    1_AttentionPooling/    weights of a trained pooling
    2_Dense/, …            layers behind the pooling
    tokenizer.*            the encoder's tokenizer

The adapter's own files are in `backbone.adapter.adapter_files`. `encoder.folder.llm2vec` reads all
of them.
"""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, Field
from torch import nn

from bothways.atomic import atomic_file
from bothways.backbone.adapter.adapter_files import MERGED, NEEDS
from bothways.config import Direction, Strict, parse
from bothways.encoder.encoder import Encoder, EncoderOptions
from bothways.encoder.folder import head_modules, pooling_module
from bothways.encoder.folder.adapter_folder import is_adapter
from bothways.encoder.folder.layout import read_stored
from bothways.encoder.folder.write import _save_tokenizer as save_tokenizer
from bothways.encoder.texts.wrapping import Wrapper
from bothways.folder_files import ENCODER_SETTINGS, LLM2VEC
from bothways.foreign import read_object
from bothways.pooling import PoolingConfig
from bothways.pooling.pool import count_from_start
from bothways.similarity_names import Similarity, check_similarity

DOC_MAX_LENGTH = 400  # tokens of the text alone, LLM2Vec's default
POOLING = f"1_{pooling_module.KIND}"
#: LLM2Vec's names of our poolings. The others have no name there.
MODES = {"mean": "mean", "weighted_mean": "weighted_mean", "last": "last_token", "bos": "bos_token"}


class AdapterSettings(Strict):
    """The encoder that a base and an adapter make. Fields as in `EncoderOptions`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    direction: Direction
    pooling: str
    pooling_tokens: int | None = Field(
        default=None, ge=1, description="number of states of last_tokens"
    )
    layers: tuple[tuple[head_modules.ModuleKind, str], ...] = Field(
        default=(), description="kind and folder of each layer behind the pooling"
    )
    truncate_dim: int | None = Field(
        default=None, ge=1, description="leading numbers of a vector to keep after these layers"
    )
    max_length: int | None = Field(default=None, ge=1)
    pool_bos: bool = True
    pool_prompt: bool = False
    stock_prompts: bool = False
    normalize: bool = False
    prompts: dict[str, str] = Field(default_factory=dict)
    default_prompt: str | None = None
    wrapper: tuple[str, ...] = Field(default=(), max_length=3)
    similarity: Similarity = "cosine"
    vocabulary: int = Field(default=0, ge=0, description="rows of the embedding")

    def options(self) -> EncoderOptions:
        """Convert these settings to options of an encoder."""
        return EncoderOptions(
            max_length=self.max_length,
            pool_bos=self.pool_bos,
            pool_prompt=self.pool_prompt,
            stock_prompts=self.stock_prompts,
            normalize=self.normalize,
            prompts=dict(self.prompts),
            default_prompt=self.default_prompt,
            wrapper=Wrapper(*self.wrapper),
            similarity=self.similarity,
        )

    def build_pooling(self, folder: Path, width: int, device: torch.device) -> nn.Module:
        """Build the pooling and the layers behind it. Trained weights come from `folder`."""
        if (folder / POOLING).is_dir():
            pooling = pooling_module.read(folder / POOLING, width=width, device=device)[0]
        else:
            tokens = {} if self.pooling_tokens is None else {"tokens": self.pooling_tokens}
            pooling = PoolingConfig.of(
                {"mode": self.pooling, **tokens}, where=f"{folder / NEEDS}: pooling"
            ).build(width)
            count_from_start(pooling, self.stock_prompts)
            width = int(getattr(pooling, "dimension", None) or width)
        if not self.layers and self.truncate_dim is None:
            return pooling
        layers = head_modules.read(
            [(kind, folder / name) for kind, name in self.layers], width=width, device=device
        )
        return head_modules.Headed(pooling, layers, width=width, keep=self.truncate_dim)


def read_settings(folder: Path) -> AdapterSettings | None:
    """Read the settings next to an adapter of ours. Returns None if the adapter is not ours.

    Raises:
        InputError: the settings are broken.
    """
    file = folder / NEEDS
    if not file.is_file():
        return None
    stated = read_object(file, remedy="write the adapter again").get("encoder")
    return None if stated is None else parse(AdapterSettings, stated, where=f"{file}: encoder")


def stated_similarity(folder: Path) -> Similarity:
    """Return the similarity by which an encoder in a folder ranks texts, without opening it.

    Raises:
        InputError: the settings are broken, or the similarity is unknown.
    """
    settings = read_settings(folder) if is_adapter(folder) else None
    if settings is not None:
        return settings.similarity
    return (
        check_similarity(read_stored(folder / ENCODER_SETTINGS).get("similarity_fn_name"))
        or "cosine"
    )


def write_adapter_settings(encoder: Encoder, folder: Path, *, pooling: str | None = None) -> None:
    """Write an encoder's settings next to its adapter.

    `bothways.json` is written last. Until then the folder is an adapter and not an encoder.

    Args:
        encoder: its adapter is in `folder`, and may be merged in the encoder.
        folder: folder of the adapter.
        pooling: LLM2Vec's name of the pooling, if it is more precise than ours, for example
            "eos_token" for "last".
    """
    own: Any = encoder.pooling
    save_tokenizer(encoder, folder)
    if pooling_module.is_trained(own):
        pooling_module.write(
            own, folder, POOLING, include_prompt=encoder.options.pool_prompt, bos=None, prompts=[]
        )
    behind = head_modules.write(own, folder, 2)
    cut = getattr(own, "keep", None)
    # LLM2Vec cannot express a layer behind the pooling, and would give other vectors
    named = None if behind or cut is not None else pooling or MODES.get(own.mode)
    if named is not None:
        write_json(
            folder / LLM2VEC,
            {
                "pooling_mode": named,
                "max_length": encoder.max_length,
                "doc_max_length": DOC_MAX_LENGTH,
                "skip_instruction": not encoder.options.pool_prompt or named == "bos_token",
            },
        )
    options = encoder.options
    settings = {
        "direction": encoder.direction,
        "pooling": own.mode,
        "pooling_tokens": own.tokens if own.mode == "last_tokens" else None,
        "layers": [[kind.rsplit(".", 1)[-1], name] for name, kind in behind],
        "truncate_dim": cut,
        "max_length": options.max_length,
        "pool_bos": options.pool_bos,
        "pool_prompt": options.pool_prompt,
        "stock_prompts": options.stock_prompts,
        "normalize": options.normalize,
        "prompts": options.prompts,
        "default_prompt": options.default_prompt,
        "wrapper": list(astuple(options.wrapper)),
        "similarity": options.similarity,
        "vocabulary": len(encoder.backbone.get_input_embeddings().weight),  # type: ignore[operator]
    }
    needs = json.loads((folder / NEEDS).read_text(encoding="utf-8"))
    history = {
        key: encoder.provenance[key]
        for key in ("stages", "merge", MERGED)
        if key in encoder.provenance
    }
    write_json(folder / NEEDS, {**needs, **history, "encoder": settings})


def write_json(file: Path, value: object) -> None:
    """Write a value as JSON. The file appears whole or not at all."""
    with atomic_file(file) as part:
        # a lone surrogate (of a file name) has no UTF-8 form, so write its JSON escape
        part.write_text(
            json.dumps(value, indent=2, ensure_ascii=False) + "\n",
            encoding="utf-8",
            errors="backslashreplace",
        )
