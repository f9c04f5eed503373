"""Writes encoders in the sentence-transformers layout, with stock module types if possible.

    config.json, model.safetensors, tokenizer.*    the backbone, which AutoModel loads unchanged
    modules.json, 1_Pooling/, 2_Normalize/         the pipeline for SentenceTransformer
    sentence_bert_config.json                      max_seq_length, attn_implementation
    config_sentence_transformers.json              prompts
    bothways.json                                  provenance, and options without another place

config.json says `is_causal: false`, and names eager attention for families that need it. A trained
pooling has other modules, see `encoder.folder.pooling_module`, and first_last_avg too, see
`encoder.folder.layer_pooling`.

Type names and pooling booleans are the legacy forms, which every loader reads (vLLM, TEI, older
sentence-transformers). The new `pooling_mode` is written as well. There is no chat template,
because sentence-transformers would wrap every text in it. `encoder.folder.read` reads the folder.
"""

from __future__ import annotations

import copy
import inspect
import json
import logging
import os
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from bothways.atomic import atomic_folder
from bothways.attention.direction import published_form
from bothways.attention.older_loaders import guarded, unguard
from bothways.attention.stock import caps_scores
from bothways.attention.text_config import is_encoder_only, text_configs
from bothways.backbone.base_facts import base_facts
from bothways.backbone.hardware import resolve_dtype
from bothways.backbone.loading.checkpoint_loading import silenced
from bothways.backbone.rope import with_older_names
from bothways.backbone.tokenizer.older_tokenizers import for_transformers_4
from bothways.encoder.finite import check_weights
from bothways.encoder.folder import (
    head_modules,
    layer_pooling,
    pooling_module,
    stock_pooling,
    template_module,
)
from bothways.encoder.folder.card import CARD, keep_edited, model_card
from bothways.encoder.folder.published_settings import has_lower_case
from bothways.encoder.folder.stock_pooling import POOLINGS
from bothways.encoder.module import EncoderModule
from bothways.encoder.texts import boundary, prompts
from bothways.encoder.texts.tokenization import stock_tokens
from bothways.encoder.texts.wrapping import SLOT
from bothways.errors import InputError
from bothways.folder_files import ENCODER_SETTINGS, MODULES, OURS, TRANSFORMER_SETTINGS
from bothways.pooling.config import TRAINED
from bothways.pooling.pool import JOINED
from bothways.provenance import versions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FORMAT = 1

_ANY = 10**9  # tokens, more than any prompt has

log = logging.getLogger("bothways")


def save(
    encoder: EncoderModule,
    folder: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    replace: bool = False,
) -> None:
    """Write an encoder. The folder appears whole or not at all.

    Args:
        encoder: the encoder. Its adapters must have been merged.
        folder: a folder that does not exist or is empty, unless `replace` is True.
        dtype: type of the backbone's stored weights. If None, the present one. A trained pooling
            stays in float32.
        replace: replace an existing encoder's folder as a whole.

    Raises:
        InputError: adapters are not merged, the encoder is in int8, a folder is in the way (with
            `replace`: one that holds files but no model), the dtype is unknown, or another process
            is writing there.
        OutputError: the folder cannot be written, or the disk is full.
    """
    backbone: Any = encoder.backbone
    if any("lora_" in name for name, _ in backbone.named_parameters()):
        raise InputError(
            "save: the encoder has unmerged adapters; merge them first (bothways.backbone.adapter.lora.merge_adapter)"
        )
    if encoder.quantized is not None:
        raise InputError(
            "save: the encoder is in int8, which is made when it is loaded; save it without quantize"
        )
    kind = encoder.dtype if dtype is None else resolve_dtype(dtype, "cpu")
    _mode(encoder)
    if replace:
        _refuse_others(Path(folder))
    with atomic_folder(folder, replace=replace) as part, silenced():
        _save_backbone(backbone, part, kind, encoder)
        _save_tokenizer(encoder, part)
        _save_modules(encoder, part)
        notes = loader_notes(encoder)
        for note in notes:
            log.warning("%s: %s", folder, note)
        # stored for later saves, because the base may be gone by then
        encoder.provenance["base_model"] = base_facts(encoder.provenance)
        _write(part / OURS, _ours(encoder, notes))
        (part / CARD).write_text(
            model_card(encoder, notes), encoding="utf-8", errors="backslashreplace"
        )
        keep_edited(Path(folder), part)


def _ours(encoder: EncoderModule, notes: list[str]) -> dict[str, Any]:
    """Return bothways.json: the provenance, and options that the stock layout cannot hold."""
    return {
        **encoder.provenance,
        "versions": versions(),
        "format": FORMAT,
        "direction": encoder.direction,
        "pooling": encoder.pooling.mode,
        "pool_bos": encoder.options.pool_bos,
        "pool_prompt": encoder.options.pool_prompt,
        "stock_prompts": encoder.options.stock_prompts,
        "implied_prompts": list(_implied_prompts(encoder)),
        "wrapper": list(astuple(encoder.options.wrapper)),
        "loader_notes": notes,
    }


def _refuse_others(folder: Path) -> None:
    """Raise InputError if a folder that is to be replaced holds files but no model."""
    if (
        folder.is_dir()
        and any(folder.iterdir())
        and not any((folder / name).is_file() for name in (OURS, MODULES, "config.json"))
    ):
        raise InputError(
            f"{folder}: holds files but no encoder, so it is not replaced; choose another folder, or remove it"
        )


def _save_backbone(
    backbone: PreTrainedModel, part: Path, dtype: torch.dtype, encoder: EncoderModule
) -> None:
    published = published_form(backbone.config)
    config = published or copy.deepcopy(backbone.config)
    unguard(config)
    state = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in backbone.state_dict().items()
    }
    check_weights(state, dtype)
    kept = backbone.config
    try:
        config.architectures = [type(backbone).__name__]
        # auto_map names code of the base's author, but the stock class was measured
        if hasattr(config, "auto_map"):
            del config.auto_map
        vllm = POOLINGS[_mode(encoder)][2] if _mode(encoder) in POOLINGS else None
        if vllm is not None:
            config.pooling = vllm
        # the field comes from the folder that was loaded, and may name another pooling
        elif hasattr(config, "pooling"):
            del config.pooling
        backbone.config = config
        backbone.save_pretrained(part, state_dict=state)
    finally:
        backbone.config = kept
    # transformers writes the type of the model in memory, but loads in the type that is written
    written = json.loads((part / "config.json").read_text(encoding="utf-8"))
    written["dtype"] = str(dtype).removeprefix("torch.")
    if _needs_eager(encoder):
        written["attn_implementation"] = "eager"
    if encoder.direction == "bidirectional" and published is None and not is_encoder_only(config):
        written = guarded(written)
    _write(part / "config.json", with_older_names(written))


def _save_tokenizer(encoder: EncoderModule, part: Path) -> None:
    """Write the tokenizer without settings that would change texts in other loaders.

    These are a chat template and left padding.
    """
    tokenizer = copy.deepcopy(encoder.tokenizer)
    tokenizer.chat_template = None
    # Left padding shifts learned absolute positions in loaders that count them from the first
    # column.
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    tokenizer.model_max_length = encoder.max_length or VERY_LARGE_INTEGER
    # The backbone refuses other inputs, or passes them to layers that do not expect them
    # (token_type_ids).
    named = inspect.signature(encoder.backbone.forward).parameters
    tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name in named]
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(part)
    file = part / "tokenizer_config.json"
    _write(
        file,
        for_transformers_4(
            json.loads(file.read_text(encoding="utf-8")), tokenizer.model_input_names
        ),
    )


def _save_modules(encoder: EncoderModule, part: Path) -> None:
    stock = "sentence_transformers.models."
    first = (
        template_module.TYPES[0]
        if template_module.has_templates(encoder)
        else f"{stock}Transformer"
    )
    modules = [("", first), *_save_pooling(encoder, part)]
    modules += head_modules.write(encoder.pooling, part, len(modules))
    if encoder.options.normalize:
        modules.append((f"{len(modules)}_Normalize", f"{stock}Normalize"))
        (part / modules[-1][0]).mkdir()
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": kind}
        for i, (path, kind) in enumerate(modules)
    ]
    _write(part / MODULES, listed)
    if template_module.needs_code(encoder):
        template_module.write_code(part)
    transformer: dict[str, Any] = {
        "max_seq_length": encoder.max_length,
        "do_lower_case": has_lower_case(encoder.tokenizer),
    }
    if _needs_eager(encoder):
        transformer["model_args"] = {"attn_implementation": "eager"}
    if layer_pooling.is_layered(encoder):
        transformer["config_args"] = {"output_hidden_states": True}
    _write(part / TRANSFORMER_SETTINGS, transformer)
    stored: dict[str, Any] = {
        "prompts": {**encoder.prompts, **_implied_prompts(encoder)},
        "default_prompt_name": encoder.options.default_prompt,
        "similarity_fn_name": encoder.options.similarity,
        "model_type": "SentenceTransformer",
    }
    if getattr(encoder.pooling, "keep", None):
        stored["truncate_dim"] = encoder.pooling.keep
    _write(part / ENCODER_SETTINGS, stored)


def _save_pooling(encoder: EncoderModule, part: Path) -> list[tuple[str, str]]:
    """Write the pooling's folder, or its two. Returns folder and module type of each."""
    include = encoder.options.pool_prompt
    if pooling_module.is_trained(encoder.pooling):
        folder = f"1_{pooling_module.KIND}"
        tokens = [] if include else _prompt_tokens(encoder)
        pooling_module.write(
            encoder.pooling,
            part,
            folder,
            include_prompt=include,
            bos=_left_out_bos(encoder),
            prompts=tokens,
        )
        return [(folder, pooling_module.TYPE)]
    if template_module.is_last_tokens(encoder):
        return [template_module.write_pooling(encoder, part)]
    modules = [layer_pooling.write(encoder, part)] if layer_pooling.is_layered(encoder) else []
    mode = "mean" if modules else _mode(encoder)
    stored = stock_pooling.stored(mode, width=encoder.hidden_size, include_prompt=include)
    folder = f"{1 + len(modules)}_Pooling"
    _write(part / folder / "config.json", stored)
    return [*modules, (folder, "sentence_transformers.models.Pooling")]


def _implied_prompts(encoder: EncoderModule) -> dict[str, str]:
    """Find prompts of roles for the folder, because other loaders ignore the default."""
    return prompts.implied(encoder.prompts, encoder.options.default_prompt)


def _needs_eager(encoder: EncoderModule) -> bool:
    """Return whether other loaders must use eager attention.

    Some families turn causal without it, and others lose the cap of their scores. Others ran
    eagerly here, and one with attention classes of its own (Falcon) may run differently with SDPA.
    """
    used: Any = next(text_configs(encoder.backbone))
    if encoder.provenance.get("report", {}).get("needs_eager") or caps_scores(used):
        return True
    return encoder.execution == "padded" and used._attn_implementation == "eager"


def loader_notes(encoder: EncoderModule) -> list[str]:
    """List what the stock layout cannot express, one sentence each.

    Vectors of other loaders differ in these points.
    """
    wrapper = encoder.options.wrapper
    notes = [
        *template_module.notes(encoder),
        *([layer_pooling.NOTE] if layer_pooling.is_layered(encoder) else []),
        *stock_pooling.notes(str(encoder.pooling.mode)),
    ]
    if pooling_module.is_trained(encoder.pooling):
        notes.append(
            f"{encoder.pooling.mode} pooling is a module of this folder ({pooling_module.CODE.name}): SentenceTransformer needs "
            "trust_remote_code=True, and loaders with stock poolings only (vLLM, TEI, llama.cpp) cannot use it"
        )
    # A pooling of ours handles both: a BOS that is left out, and prompts that merge with the text.
    trained = pooling_module.is_trained(encoder.pooling)
    if not trained and _left_out_bos(encoder) is not None:
        notes.append("BOS is left out of the pool here; other loaders pool it")
    if wrapper.prefix or wrapper.suffix:
        notes.append(
            "inputs are wrapped for a chat model here; other loaders need the wrapper in the text or prompt"
        )
    elif wrapper.joint:
        notes.append(
            f"instruction and text are joined by {wrapper.joint!r} here; other loaders need it at the prompt's end"
        )
    return [*notes, *prompt_notes(encoder)]


def prompt_notes(encoder: EncoderModule) -> list[str]:
    """Write a note for each stored prompt that sentence-transformers ends at another token."""
    options, trained = encoder.options, pooling_module.is_trained(encoder.pooling)
    if options.wrapper.prefix or options.pool_prompt:
        return []
    notes = []
    for name, whole in options.prompts.items():
        prompt = whole.split(SLOT)[0]  # the part before the text, if the prompt is a template
        row = encoder.tokenize([(whole, "text")], max_length=_ANY)[0]
        alone = stock_tokens(encoder.tokenizer, prompt)
        left_out = _shared(alone, row.ids) if trained else len(alone)
        if prompt and left_out != row.pool.index(True):
            why, advice = boundary.cause(encoder.tokenizer, prompt)
            notes.append(
                f"prompt {name!r}: {why} ({prompt[-12:]!r}), and sentence-transformers leaves out one token more or less than "
                f"this encoder; {advice}"
            )
        weighted = "weighted_mean" in str(encoder.pooling.mode).split(JOINED)
        if prompt and weighted and not options.stock_prompts:
            notes.append(
                f"prompt {name!r}: sentence-transformers' weighted mean counts positions from the start of the prompt"
            )
    return notes


def _shared(one: list[int], other: list[int]) -> int:
    """Count the tokens at the beginning that both have in common."""
    return next(
        (place for place, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other))
    )


def _prompt_tokens(encoder: EncoderModule) -> list[list[int]]:
    """List the tokens of each stored prompt, or of a template's part before the text, each once."""
    found = (
        tuple(stock_tokens(encoder.tokenizer, whole.split(SLOT)[0]))
        for whole in encoder.options.prompts.values()
    )
    return [list(ids) for ids in dict.fromkeys(found) if ids]


def _left_out_bos(encoder: EncoderModule) -> int | None:
    """Return the id of the BOS that is added before a text but not pooled.

    Returns None if there is no BOS, if it is pooled, or if a wrapper comes first.
    """
    if encoder.options.pool_bos or encoder.options.wrapper.prefix:
        return None
    row = encoder.tokenize(["a"], max_length=_ANY)[0]
    return None if row.pool[0] else row.ids[0]


def _mode(encoder: EncoderModule) -> str:
    """Return the pooling's mode, if the stock layout or a module of ours can express it."""
    mode = str(getattr(encoder.pooling, "mode", type(encoder.pooling).__name__))
    known = (*POOLINGS, *TRAINED, "last_tokens", layer_pooling.MODE)
    if mode not in known and not stock_pooling.is_stock(mode):
        raise InputError(
            f"save: pooling {mode} cannot be written in the sentence-transformers layout; known: {', '.join(known)}"
        )
    return mode


def _write(file: Path, value: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # a lone surrogate (of a file name) has no UTF-8 form, so write its JSON escape
    file.write_text(
        json.dumps(value, indent=2, ensure_ascii=False) + "\n",
        encoding="utf-8",
        errors="backslashreplace",
    )
