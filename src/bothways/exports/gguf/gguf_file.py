"""Writes an encoder as one .gguf file for llama.cpp, Ollama and everything built on them.

Two keys make a decoder's file an encoder: `<arch>.attention.causal = false` and
`<arch>.pooling_type`. Without the first, llama.cpp reads the text causally and does not report it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from transformers import PretrainedConfig

from bothways.atomic import atomic_file
from bothways.backbone.tokenizer.preparation import specials
from bothways.encoder.encoder import Encoder
from bothways.encoder.folder import head_modules
from bothways.errors import InputError, MissingExtra
from bothways.exports.bidirectional import refuse_causal
from bothways.exports.gguf.gguf_families import GgufFamily, family
from bothways.exports.gguf.gguf_settings import rope_factors, settings
from bothways.exports.gguf.gguf_vocabulary import Vocabulary, vocabulary
from bothways.nearest import did_you_mean

if TYPE_CHECKING:
    from gguf import GGUFWriter

POOLINGS = {"mean": 1, "bos": 2, "last": 3}
"""Pooling modes, with their number in `gguf.PoolingType`."""
TYPES = ("f32", "f16", "q8_0")
_BUFFERS = ("rotary_emb.inv_freq", ".attn.bias", ".masked_bias")  # llama.cpp computes them


def write_gguf(
    encoder: Encoder, file: str | os.PathLike[str], *, dtype: str = "f32", name: str = "encoder"
) -> None:
    """Write an encoder as a .gguf file. The file appears complete or not at all.

    Args:
        encoder: an encoder with its adapters merged.
        file: file to write, for example "encoder.gguf".
        dtype: type of the matrices: "f32", "f16" or "q8_0" (8 bits, blocks of 32 with one scale).
            Vectors such as norms and biases stay in float32.
        name: the model's name inside the file.

    Raises:
        InputError: if the encoder is causal, or llama.cpp does not have its pooling, its tokenizer
            or the type.
        UnsupportedFamily: if llama.cpp does not run this family, or it has not been measured.
        OutputError: if the file cannot be written.
        MissingExtra: if the `gguf` package is not installed.
    """
    try:
        import gguf
    except ImportError:
        raise MissingExtra("gguf", "gguf", "export to GGUF") from None
    check(encoder, dtype)
    config = encoder.backbone.config.get_text_config()  # type: ignore[operator,union-attr]
    known = family(config, name)
    values = settings(config, name) | known.settings(config)
    words = vocabulary(encoder.tokenizer, int(config.vocab_size))
    with atomic_file(file) as part:
        writer = gguf.GGUFWriter(str(part), known.arch)
        try:
            _write_settings(writer, known.arch, values)
            writer.add_name(name)
            writer.add_causal_attention(False)
            writer.add_pooling_type(gguf.PoolingType(POOLINGS[str(encoder.pooling.mode)]))
            _write_vocabulary(writer, words, encoder)
            for tensor, value in named_tensors(encoder, known, config, gguf):
                _write_tensor(writer, gguf, tensor, value, dtype)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


def check(encoder: Encoder, dtype: str) -> None:
    """Refuse encoders and types that a .gguf file cannot have.

    Raises:
        InputError: as `write_gguf` does.
    """
    if dtype not in TYPES:
        raise InputError(
            f"dtype: GGUF files are written as {', '.join(TYPES)}, not as {dtype!r}{did_you_mean(dtype, TYPES)}"
        )
    refuse_causal(encoder)
    if encoder.pooling.mode not in POOLINGS:
        raise InputError(
            f"export to GGUF: llama.cpp does not have {encoder.pooling.mode} pooling; it has {', '.join(POOLINGS)}"
        )
    head_modules.refuse(encoder.pooling, "export to GGUF")
    if encoder.options.wrapper.prefix or encoder.options.wrapper.suffix:
        raise InputError(
            "export to GGUF: the encoder puts a wrapper around every text, which a .gguf file cannot store"
        )
    if encoder.provenance.get("report", {}).get("kept_windows"):
        raise InputError(
            "export to GGUF: the encoder keeps sliding windows, which llama.cpp cuts in another way; convert with windows=lift"
        )
    around = specials(encoder.tokenizer)
    if not encoder.options.pool_bos and around.bos_added:
        raise InputError(
            "export to GGUF: the encoder does not pool BOS (pool_bos), and llama.cpp does; "
            "train with --option servable=true to pool it"
        )
    if (len(around.prefix_ids), len(around.suffix_ids)) != (around.bos_added, around.eos_added):
        raise InputError(
            "export to GGUF: the tokenizer puts other tokens than BOS and EOS around a text, which llama.cpp does not"
        )


def named_tensors(
    encoder: Encoder, known: GgufFamily, config: PretrainedConfig, gguf: ModuleType
) -> Iterator[tuple[str, Tensor]]:
    """Yield each weight of the backbone with its name in GGUF, as llama.cpp expects it.

    Raises:
        InputError: if llama.cpp does not have a tensor for a weight.
    """
    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == known.arch)
    names = gguf.get_tensor_name_map(arch, int(config.num_hidden_layers))
    backbone: Any = encoder.backbone
    prefixes = ("", "model.", f"{backbone.base_model_prefix}.")
    for original, tensor in backbone.state_dict().items():
        for changed, value in _transformed(known, original, tensor.float(), config):
            found = (
                names.get_name(f"{prefix}{changed}", try_suffixes=(".weight", ".bias"))
                for prefix in prefixes
            )
            place = next((each for each in found if each is not None), None)
            if place is None:
                if original.endswith(_BUFFERS):
                    continue
                raise InputError(
                    f"export to GGUF: llama.cpp's {known.arch} does not have the weight {original}"
                )
            yield place, value
    embedding = backbone.get_input_embeddings().weight.detach()
    for place in known.head:  # llama.cpp does not load the file without them
        yield (
            place,
            embedding.float()
            if place.endswith(".weight")
            else embedding.new_zeros(len(embedding)).float(),
        )
    factors = rope_factors(config)
    if factors is not None:
        yield "rope_freqs.weight", factors


def _transformed(
    known: GgufFamily, name: str, value: Tensor, config: PretrainedConfig
) -> Iterator[tuple[str, Tensor]]:
    found = [(name, value)]
    for step in known.transform:
        found = [result for each, tensor in found for result in step(each, tensor, config)]
    yield from found


def _write_settings(writer: GGUFWriter, arch: str, values: dict[str, Any]) -> None:
    for key, value in values.items():
        name = f"{arch}.{key}"
        if isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        elif isinstance(value, list):
            writer.add_array(name, value)
        else:
            writer.add_string(name, value)


def _write_vocabulary(writer: GGUFWriter, words: Vocabulary, encoder: Encoder) -> None:
    tokenizer: Any = encoder.tokenizer
    writer.add_tokenizer_model(words.model)
    writer.add_tokenizer_pre(words.pre)
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    if words.merges:
        writer.add_token_merges(words.merges)
    if words.scores:
        writer.add_token_scores(words.scores)
    around = specials(tokenizer)
    for index, add in (
        (tokenizer.bos_token_id, writer.add_bos_token_id),
        (tokenizer.eos_token_id, writer.add_eos_token_id),
        (tokenizer.unk_token_id, writer.add_unk_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
    ):
        if index is not None:
            add(index)
    writer.add_add_bos_token(around.bos_added)
    writer.add_add_eos_token(around.eos_added)


def _write_tensor(
    writer: GGUFWriter, gguf: ModuleType, name: str, value: Tensor, dtype: str
) -> None:
    data = np.ascontiguousarray(value.to(torch.float32).numpy())
    if data.ndim < 2 or dtype == "f32":
        writer.add_tensor(name, data)
    elif dtype == "f16":
        writer.add_tensor(name, data.astype(np.float16))
    elif data.shape[-1] % 32:
        raise InputError(
            f"export to GGUF: q8_0 needs rows of a multiple of 32 numbers, and {name} has {data.shape[-1]}; use f16"
        )
    else:
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quantize(data, kind), raw_dtype=kind)
