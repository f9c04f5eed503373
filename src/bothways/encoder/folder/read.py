"""Reads encoders from disk: any sentence-transformers folder over a decoder or encoder-only model.

Such folders may come from other programs. Every setting that would change the vectors is either
followed or refused by name, and never ignored. `encoder.folder.write` writes them.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import ConfigDict, Field
from torch import nn

from bothways.attention.direction import looks_ahead, uses_own_switch
from bothways.attention.drawn import drawn
from bothways.attention.text_config import is_encoder_only
from bothways.backbone.loading.sources import Pretrained, load_pretrained
from bothways.config import Direction, Strict, parse
from bothways.encoder import prompts
from bothways.encoder.encoder import Encoder, EncoderOptions
from bothways.encoder.folder import adapter_folder, head_modules, layer_pooling, pooling_module, template_module
from bothways.encoder.folder.published_settings import check_tokenizer, read_transformer
from bothways.encoder.folder.write import MODULES, OURS, POOLINGS, prompt_notes
from bothways.encoder.tokenization import Wrapper, is_template
from bothways.errors import DirectionError, InputError
from bothways.foreign import positive, read_json, read_object
from bothways.pooling import Pooling
from bothways.provenance import versions

log = logging.getLogger("bothways")

SETTINGS = "config_sentence_transformers.json"

# sentence-transformers' names of poolings, legacy and new → ours
_MODES = {legacy: mode for mode, (legacy, _, _) in POOLINGS.items()} | {new: mode for mode, (_, new, _) in POOLINGS.items()}


def load(path: Path, *, device: torch.device, dtype: torch.dtype, base: str | os.PathLike[str] | None = None) -> Encoder:
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
    from bothways.encoder.convert import prepare

    modules = _modules(path)
    layered = next((module for module in modules if module.kind == layer_pooling.KIND), None)
    modules = [module for module in modules if module is not layered]
    kinds = [module.kind for module in modules]
    root = path / modules[0].path
    ours = parse(_Ours, read_object(path / OURS), where=str(path / OURS)) if (path / OURS).exists() else None
    transformer = read_transformer(root)
    if layered is not None:
        layer_pooling.check(path / layered.path, transformer, root)
    stock = _pooling(path, modules)
    if layered is not None:
        stock = stock._replace(mode=layer_pooling.mode_of(path / layered.path, stock.mode))
    stored = _stored(path / SETTINGS)
    if adapter_folder.is_adapter(root):
        loaded, merged = adapter_folder.load(root, base, dtype=dtype, device=device)
    elif base is not None:
        raise InputError(f"base: only valid for adapters and LLM2Vec folders, and {path} has weights of its own")
    else:
        loaded, merged = load_pretrained(root, dtype=dtype, device=device), {}
    check_tokenizer(root, loaded.tokenizer, transformer)
    direction = _direction(loaded.model, root / "config.json")
    own = next((path / module.path for module in modules if module.kind == pooling_module.KIND), None)
    if own is not None:
        width = int(loaded.model.config.get_text_config().hidden_size)
        pooling, include_prompt = pooling_module.read(own, width=width, device=device)
    elif modules[1:] and modules[1].kind == template_module.POOLING:
        pooling, include_prompt = template_module.read_pooling(path / modules[1].path)
    else:
        include_prompt = stock.include_prompt
        left_out = not include_prompt if ours is None else ours.stock_prompts
        pooling = Pooling(stock.mode or ("mean" if direction == "bidirectional" else "last"), from_start=left_out)
        pooling = _head(pooling, path, modules[2:], stored.get("truncate_dim"), loaded, device)
    if ours is not None and ours.direction != direction:
        raise DirectionError(
            f"{root / 'config.json'}: says {direction} attention but {OURS} says {ours.direction}, and other loaders follow the config; "
            "save the encoder again from its base"
        )
    # Windows in a folder of ours were lifted when it was made. In other folders the author wants
    # them.
    keep = ours is None or bool(ours.report.get("kept_windows"))
    execution, report = prepare(loaded.model, direction, "keep" if keep else "lift")
    if ours is None:
        options = EncoderOptions(pool_prompt=include_prompt, stock_prompts=not include_prompt)
        provenance: dict[str, Any] = {"base": str(path), "stages": [], "versions": versions()}
    else:
        options = EncoderOptions(
            pool_bos=ours.pool_bos,
            pool_prompt=ours.pool_prompt,
            stock_prompts=ours.stock_prompts,
            wrapper=Wrapper(*ours.wrapper),
        )
        provenance = ours.provenance()
        report = {**report, "lifted_windows": ours.report.get("lifted_windows", {})}
    options.max_length = _limit(transformer, loaded, own=ours is not None)
    options.normalize = kinds[-1] == "Normalize" and not stored.get("truncate_dim")
    options.prompts = prompts.as_read(
        stored.get("prompts"), stored.get("default_prompt_name"), path / SETTINGS, ours=ours is not None
    )
    for name in () if ours is None else ours.implied_prompts:
        options.prompts.pop(name, None)
    plain = [name for name, text in options.prompts.items() if is_template(text)] if kinds[0] == "Transformer" else []
    if plain:
        raise InputError(
            f"{path / SETTINGS}: the prompt {plain[0]!r} holds {{text}}, which sentence-transformers keeps as it is "
            "but bothways replaces with the text; take it out of the prompt"
        )
    options.default_prompt = stored.get("default_prompt_name")
    encoder = Encoder(
        loaded.model,
        loaded.tokenizer,
        pooling,
        direction=direction,
        execution=execution,
        options=options,
        provenance={**provenance, **merged, "report": report},
    ).eval()
    encoder.folder = None if merged else root
    for note in prompt_notes(encoder):
        log.warning("%s: %s", path, note)
    return encoder


class _Ours(Strict):
    """bothways.json: options that the stock layout cannot hold. All else is provenance."""

    model_config = ConfigDict(extra="allow", frozen=True)

    format: Literal[1]
    direction: Direction
    pool_bos: bool = True
    pool_prompt: bool = False
    stock_prompts: bool = False
    implied_prompts: tuple[str, ...] = ()
    wrapper: tuple[str, ...] = Field(default=(), max_length=3)
    report: dict[str, Any] = Field(default_factory=dict)
    pooling: str = ""
    loader_notes: list[str] = Field(default_factory=list)

    def provenance(self) -> dict[str, Any]:
        """Return the fields that are copied into the next save."""
        own = ("format", "pooling", "pool_bos", "pool_prompt", "stock_prompts", "implied_prompts", "wrapper", "loader_notes")
        return {"stages": [], **{key: value for key, value in self.model_dump().items() if key not in own}}


class _Module(NamedTuple):
    kind: str
    path: str


class _PoolingConfig(NamedTuple):
    mode: str | None
    include_prompt: bool


def _modules(path: Path) -> list[_Module]:
    """List the modules of a folder, of stock types and of ours, in an order that can be run.

    Raises:
        InputError: names another module type or order.
    """
    listed = read_json(path / MODULES)
    try:
        types = [str(module["type"]) for module in listed]
        modules = [_Module(name.rsplit(".", 1)[-1], str(module["path"])) for name, module in zip(types, listed)]
    except (TypeError, KeyError):
        raise InputError(f"{path / MODULES}: must be a list of modules, each with a type and a path") from None
    ours = {pooling_module.TYPE, *template_module.TYPES}
    foreign = [name for name in types if not name.startswith(head_modules.STOCK) and name not in ours]
    if foreign:
        raise InputError(
            f"{path / MODULES}: modules {', '.join(module.kind for module in modules)} cannot be read: {foreign[0]} is the author's code, "
            "which is never run"
        )
    own = {kind.rsplit(".", 1)[-1] for kind in {*types} & ours}
    kinds = [module.kind for module in modules]
    firsts = {"Transformer", *({template_module.TRANSFORMER} & own)}
    poolings = {"Pooling", *({pooling_module.KIND, template_module.POOLING} & own)}
    if kinds[1:3] == [layer_pooling.KIND, "Pooling"]:
        del kinds[1]
    behind = kinds[2:] if kinds[1:2] and kinds[1] in poolings else kinds[1:]
    layers = head_modules.KINDS if kinds[1:2] == ["Pooling"] else ("Normalize",)
    if not kinds or kinds[0] not in firsts or not set(behind) <= set(layers):
        raise InputError(
            f"{path / MODULES}: modules {', '.join(kinds) or 'none'} cannot be read; known: Transformer, then Pooling (with "
            f"{layer_pooling.KIND} before it, if needed), then any of "
            f"{', '.join(head_modules.KINDS)}"
        )
    return modules


def _pooling(path: Path, modules: list[_Module]) -> _PoolingConfig:
    """Read the pooling mode and whether prompts are pooled.

    Without a Pooling module, use sentence-transformers' default for decoders.
    """
    module = next((module for module in modules if module.kind == "Pooling"), None)
    if module is None:
        return _PoolingConfig(None, True)
    file = path / module.path / "config.json"
    config = read_object(file)
    named = config.get("pooling_mode")
    if not isinstance(named, str | list | None):
        raise InputError(f"{file}: pooling_mode must be a name or a list of names, and is {named!r:.60}")
    if named is None:
        named = [key for key, on in config.items() if key.startswith("pooling_mode_") and on is True] or ["mean"]
    active = [named] if isinstance(named, str) else list(named)
    if len(active) != 1 or not isinstance(active[0], str) or active[0] not in _MODES:
        raise InputError(f"{file}: pooling {', '.join(map(str, active))} cannot be read; known: one of {', '.join(_MODES)}")
    return _PoolingConfig(_MODES[active[0]], bool(config.get("include_prompt", True)))


def _stored(file: Path) -> dict[str, Any]:
    """Read config_sentence_transformers.json of a text encoder.

    Raises:
        InputError: the model is of another kind, or truncate_dim is not a positive whole number.
    """
    stored = read_object(file, {})
    kind = stored.get("model_type") or "SentenceTransformer"
    if kind != "SentenceTransformer":
        raise InputError(
            f"{file}: model_type {kind!r} is not an encoder with one vector for each text; known: SentenceTransformer"
        )
    if stored.get("truncate_dim") is not None:
        stored["truncate_dim"] = positive(stored["truncate_dim"], f"{file}: truncate_dim")
    return stored


def _head(
    pooling: Pooling, path: Path, modules: list[_Module], keep: int | None, loaded: Pretrained, device: torch.device
) -> nn.Module:
    """Build the pooling with the layers behind it.

    A Normalize at the end becomes an option of the encoder, unless vectors are cut after it.
    """
    last = modules[-1:] if modules and modules[-1].kind == "Normalize" and not keep else []
    between = modules[: len(modules) - len(last)]
    if not between and not keep:
        return pooling
    width = int(loaded.model.config.get_text_config().hidden_size)
    layers = head_modules.read([(module.kind, path / module.path) for module in between], width=width, device=device)
    return head_modules.Headed(pooling, layers, width=width, keep=keep)


def _direction(model: Any, file: Path) -> Direction:
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
    from bothways.attention.positions import usable_positions

    limit = transformer.get("max_seq_length")
    if limit is not None:
        return positive(limit, "sentence_bert_config.json: max_seq_length")
    if own:
        return None
    limits = (loaded.tokenizer.model_max_length, usable_positions(loaded.model))
    return min((value for value in limits if value is not None and value < 10**9), default=None)
