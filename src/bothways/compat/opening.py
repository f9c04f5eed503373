"""Opens the encoder of an `LLM2Vec` from names, or from a loaded model."""

from __future__ import annotations

import os
from dataclasses import astuple
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedTokenizerBase

from bothways.attention.text_config import text_configs
from bothways.backbone.loading.model_source import locate
from bothways.backbone.tokenizer.preparation import prepare_tokenizer
from bothways.config import Direction
from bothways.encoder.convert import convert
from bothways.encoder.encoder import Encoder, EncoderOptions
from bothways.encoder.folder import llm2vec as llm2vec_folder
from bothways.encoder.folder import read as reading
from bothways.encoder.folder.llm2vec_texts import text_wrapper
from bothways.encoder.load import is_encoder, local_folder
from bothways.encoder.prepare_backbone import prepare
from bothways.errors import InputError
from bothways.folder_files import MODULES
from bothways.pooling import Pooling

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def open_named(
    base: str | os.PathLike[str],
    peft: str | os.PathLike[str] | None,
    direction: Direction,
    device: torch.device,
    dtype: torch.dtype,
) -> Encoder:
    """Open a base or an encoder, with an adapter merged into it.

    Args:
        base: hub id or folder.
        peft: hub id or folder of the adapter. None if there is none.
        direction: "bidirectional" or "causal".
        device: device of the weights.
        dtype: type of the weights. Adapters are merged in float32.

    Raises:
        InputError: if the adapter does not fit.
        SourceError: if a model cannot be found or reached.
    """
    name, source = os.fspath(base), locate(base)
    if not is_encoder(source):
        wrapper = astuple(text_wrapper(name))
        encoder = convert(
            source,
            direction=direction,
            adapter=peft,
            device=device,
            dtype=dtype,
            pool_bos=False,
            wrapper=wrapper,
        )
        if peft is not None:
            llm2vec_folder.follow(encoder, llm2vec_folder.find_adapter(peft), base=name)
        return encoder
    folder = local_folder(source)
    if llm2vec_folder.is_llm2vec(folder) and not (folder / MODULES).is_file():
        return llm2vec_folder.load(
            folder, adapter=peft, base=None, device=device, dtype=dtype, direction=direction
        )
    encoder = reading.load(folder, device=device, dtype=dtype if peft is None else torch.float32)
    if peft is not None:
        llm2vec_folder.add(encoder, peft, folder, dtype)
    if encoder.direction != direction:
        encoder.execution, encoder.provenance["report"] = prepare(encoder.backbone, direction)
        encoder.direction = direction
    return encoder


def open_loaded(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> Encoder:
    """Return an encoder over a model that the caller has loaded, with its adapter merged.

    Raises:
        InputError: if the tokenizer is missing.
    """
    if tokenizer is None:
        raise InputError("LLM2Vec: give the model's tokenizer as well")
    merge = getattr(model, "merge_and_unload", None)
    model = merge() if callable(merge) else model
    name = str(getattr(model.config, "_name_or_path", ""))
    family = next(text_configs(model)).model_type
    execution, report = prepare(model, "bidirectional")
    return Encoder(
        model,
        prepare_tokenizer(tokenizer, model.config),
        Pooling("mean"),
        direction="bidirectional",
        execution=execution,
        options=EncoderOptions(
            max_length=512, pool_bos=False, wrapper=text_wrapper(name, model_type=family)
        ),
        provenance={"base": name, "stages": [], "report": report},
    ).eval()
