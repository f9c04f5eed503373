"""Reads encoders from disk: any sentence-transformers folder over a decoder or encoder-only model.

Such folders may come from other programs. Their settings are read by `encoder.folder.layout`, and
`encoder.folder.write` writes such folders.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from bothways.attention.direction import looks_ahead, uses_own_switch
from bothways.attention.drawn import drawn
from bothways.attention.positions import usable_positions
from bothways.attention.text_config import is_encoder_only, state_width
from bothways.backbone.loading.sources import Pretrained, load_pretrained
from bothways.config import Direction
from bothways.encoder.encoder import Encoder, EncoderOptions
from bothways.encoder.folder import adapter_folder, head_modules, pooling_module, template_module
from bothways.encoder.folder.layout import FolderLayout, Module, Ours, read_layout
from bothways.encoder.folder.published_settings import check_tokenizer, lower_case, say_code
from bothways.encoder.folder.write import prompt_notes
from bothways.encoder.prepare_backbone import prepare
from bothways.encoder.texts import prompts
from bothways.encoder.texts.wrapping import Wrapper, is_template
from bothways.errors import DirectionError, InputError
from bothways.folder_files import ENCODER_SETTINGS, OURS
from bothways.foreign import positive
from bothways.pooling import PoolingConfig
from bothways.pooling.pool import count_from_start
from bothways.provenance import versions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger("bothways")


def load(
    path: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    base: str | os.PathLike[str] | None = None,
) -> Encoder:
    """Read a sentence-transformers folder over a decoder or an encoder-only model.

    Args:
        path: the folder.
        device: device of the encoder.
        dtype: type of its weights.
        base: base model of a folder that holds an adapter in place of weights. If None, the one
            that the adapter names.

    Raises:
        InputError: modules or settings are not supported here, or files are damaged.
        DirectionError: config.json of a folder of ours no longer agrees with bothways.json.
    """
    layout = read_layout(path)
    root, ours = layout.root, layout.ours
    if adapter_folder.is_adapter(root):
        loaded, merged = adapter_folder.load(root, base, dtype=dtype, device=device)
    elif base is not None:
        raise InputError(
            f"base: only valid for adapters and LLM2Vec folders, and {path} has weights of its own"
        )
    else:
        loaded, merged = load_pretrained(root, dtype=dtype, device=device), {}
    check_tokenizer(root, loaded.tokenizer, loaded.model)
    if layout.transformer.get("do_lower_case"):
        lower_case(loaded.tokenizer)
    if ours is None:
        say_code(root, type(loaded.model).__name__)
    direction = _direction(loaded.model, root / "config.json")
    pooling, include_prompt = _vectors(layout, direction, loaded, device)
    _check_direction(root, direction, ours)
    # Windows in a folder of ours were lifted when it was made. In other folders the author wants
    # them.
    keep = ours is None or bool(ours.report.get("kept_windows"))
    execution, report = prepare(loaded.model, direction, "keep" if keep else "lift")
    if ours is None:
        provenance: dict[str, Any] = {"base": str(path), "stages": [], "versions": versions()}
    else:
        provenance = ours.provenance()
        report = {**report, "lifted_windows": ours.report.get("lifted_windows", {})}
    encoder = Encoder(
        loaded.model,
        loaded.tokenizer,
        pooling,
        direction=direction,
        execution=execution,
        options=_options(layout, include_prompt, loaded),
        provenance={**provenance, **merged, "report": report},
    ).eval()
    encoder.folder = None if merged else root
    for note in prompt_notes(encoder):
        log.warning("%s: %s", path, note)
    return encoder


def _check_direction(root: Path, direction: Direction, ours: Ours | None) -> None:
    """Raise DirectionError if config.json and our own settings disagree."""
    if ours is not None and ours.direction != direction:
        raise DirectionError(
            f"{root / 'config.json'}: says {direction} attention but {OURS} says {ours.direction}, and other loaders follow the config; "
            "save the encoder again from its base"
        )


def _vectors(
    layout: FolderLayout, direction: Direction, loaded: Pretrained, device: torch.device
) -> tuple[nn.Module, bool]:
    """Build the pooling with the layers behind it. Also return whether prompts are pooled."""
    own, ours = layout.place_of(pooling_module.KIND), layout.ours
    behind = layout.modules[1:]
    pooling: nn.Module
    if own is not None:
        width = state_width(loaded.model)
        pooling, include_prompt = pooling_module.read(own, width=width, device=device)
    elif behind and behind[0].kind == template_module.POOLING:
        pooling, include_prompt = template_module.read_pooling(layout.path / behind[0].path)
    else:
        include_prompt = layout.stock.include_prompt
        left_out = not include_prompt if ours is None else ours.stock_prompts
        mode = layout.stock.mode or ("mean" if direction == "bidirectional" else "last")
        pooling = PoolingConfig(mode=mode).build(state_width(loaded.model))
        count_from_start(pooling, left_out)
    return _head(
        pooling, layout.path, behind[1:], layout.stored.get("truncate_dim"), loaded, device
    ), include_prompt


def _options(layout: FolderLayout, include_prompt: bool, loaded: Pretrained) -> EncoderOptions:
    """Find the options of the encoder.

    Raises:
        InputError: a prompt has a slot for the text, but the folder's modules have no templates.
    """
    ours, stored, file = layout.ours, layout.stored, layout.path / ENCODER_SETTINGS
    if ours is None:
        options = EncoderOptions(pool_prompt=include_prompt, stock_prompts=not include_prompt)
    else:
        options = EncoderOptions(
            pool_bos=ours.pool_bos,
            pool_prompt=ours.pool_prompt,
            stock_prompts=ours.stock_prompts,
            wrapper=Wrapper(*ours.wrapper),
        )
    options.max_length = _limit(layout.transformer, loaded, own=ours is not None)
    options.normalize = layout.modules[-1].kind == "Normalize" and not stored.get("truncate_dim")
    options.default_prompt = stored.get("default_prompt_name")
    options.similarity = stored.get("similarity_fn_name") or "cosine"
    options.prompts = prompts.as_read(
        stored.get("prompts"), options.default_prompt, file, ours=ours is not None
    )
    for name in () if ours is None else ours.implied_prompts:
        options.prompts.pop(name, None)
    stock = layout.modules[0].kind == "Transformer"
    plain = [name for name, text in options.prompts.items() if is_template(text)] if stock else []
    if plain:
        raise InputError(
            f"{file}: the prompt {plain[0]!r} holds {{text}}, which sentence-transformers keeps as it is "
            "but bothways replaces with the text; take it out of the prompt"
        )
    return options


def _head(
    pooling: nn.Module,
    path: Path,
    modules: list[Module],
    keep: int | None,
    loaded: Pretrained,
    device: torch.device,
) -> nn.Module:
    """Build the pooling with the layers behind it.

    A Normalize at the end becomes an option of the encoder, unless vectors are cut after it.
    """
    last = modules[-1:] if modules and modules[-1].kind == "Normalize" and not keep else []
    for module in last:
        head_modules.settings(module.kind, path / module.path)
    between = modules[: len(modules) - len(last)]
    if not between and not keep:
        return pooling
    width = int(getattr(pooling, "dimension", None) or state_width(loaded.model))
    layers = head_modules.read(
        [(module.kind, path / module.path) for module in between], width=width, device=device
    )
    return head_modules.Headed(pooling, layers, width=width, keep=keep)


def _direction(model: PreTrainedModel, file: Path) -> Direction:
    """Find the direction in which plain transformers runs the folder.

    It is given by `is_causal`, or by the switch of families that have their own. Encoder-only
    families are bidirectional by nature. Most decoders ignore `use_bidirectional_attention`, so its
    effect is measured.
    """
    config = model.config
    if is_encoder_only(config) or getattr(config, "is_causal", True) is False:
        return "bidirectional"
    if not uses_own_switch(config):
        return "causal"
    reach = drawn(model)
    if reach is not None and looks_ahead(reach):
        return "bidirectional"
    log.warning(
        "%s: use_bidirectional_attention has no effect on %s in transformers and sentence-transformers, so the encoder is causal; "
        'if it was trained bidirectionally, write "is_causal": false there',
        file,
        config.model_type,
    )
    return "causal"


def _limit(transformer: dict[str, Any], loaded: Pretrained, *, own: bool) -> int | None:
    """Find the tokens per text: the stored number, or what sentence-transformers would use.

    It keeps the number with the tokenizer and caps it at the model's positions.
    """
    limit = transformer.get("max_seq_length")
    if limit is not None:
        return positive(limit, "sentence_bert_config.json: max_seq_length")
    if own or transformer.get("truncation") is False:
        return None
    limits = (loaded.tokenizer.model_max_length, usable_positions(loaded.model))
    return min((value for value in limits if value is not None and value < 10**9), default=None)
