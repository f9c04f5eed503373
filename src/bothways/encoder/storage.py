"""Encoders on disk: the sentence-transformers layout, made of stock module types only.

    config.json, model.safetensors, tokenizer.*    the backbone, which AutoModel loads as it is: `is_causal: false` inside
    modules.json, 1_Pooling/, 2_Normalize/         the pipeline for SentenceTransformer
    sentence_bert_config.json                      max_seq_length, and attn_implementation where a family needs the eager one
    config_sentence_transformers.json              prompts
    bothways.json                                  what only we read: provenance and options beyond that layout

Type names and pooling booleans are the legacy forms, which every loader reads (vLLM, TEI, older sentence-transformers); the
new `pooling_mode` stands beside them. There is no chat template: sentence-transformers would wrap every text in it.
"""

from __future__ import annotations

import copy
import json
import logging
import os
from pathlib import Path
from typing import Any

import torch

from bothways.atomic import atomic_folder
from bothways.attention.text_config import is_encoder_only
from bothways.backbone.hardware import resolve_dtype
from bothways.backbone.sources import load_pretrained
from bothways.config import Direction
from bothways.encoder.card import model_card
from bothways.encoder.encoder import Encoder, EncoderOptions
from bothways.encoder.tokenization import Wrapper
from bothways.errors import InputError
from bothways.pooling import Pooling
from bothways.provenance import versions

MODULES = "modules.json"
OURS = "bothways.json"
FORMAT = 1

# our mode → (legacy boolean, sentence-transformers' mode, vLLM's `config.pooling`)
_POOLINGS = {
    "mean": ("pooling_mode_mean_tokens", "mean", "avg"),
    "weighted_mean": ("pooling_mode_weightedmean_tokens", "weightedmean", None),
    "last": ("pooling_mode_lasttoken", "lasttoken", "last"),
    "bos": ("pooling_mode_cls_token", "cls", "cls"),
    "max": ("pooling_mode_max_tokens", "max", None),
}
_MODES = {legacy: mode for mode, (legacy, _, _) in _POOLINGS.items()} | {new: mode for mode, (_, new, _) in _POOLINGS.items()}

log = logging.getLogger("bothways")


def save(encoder: Encoder, folder: str | os.PathLike[str], *, dtype: str | None = None, replace: bool = False) -> None:
    """Write an encoder; the folder appears whole or not at all.

    Args:
        encoder: what to write; adapters must have been merged.
        folder: where; must not exist or be empty, unless `replace`.
        dtype: type of the stored weights, None for the present one.
        replace: swap out an existing folder as a whole.

    Raises:
        InputError: unmerged adapters, a folder in the way, or an unknown dtype.
    """
    backbone: Any = encoder.backbone
    if any("lora_" in name for name, _ in backbone.named_parameters()):
        raise InputError("save: the encoder still carries adapters; merge them first (bothways.backbone.adapters.merge)")
    kind = encoder.dtype if dtype is None else resolve_dtype(dtype, "cpu")
    with atomic_folder(folder, replace=replace) as part:
        _save_backbone(backbone, part, kind, encoder)
        _save_tokenizer(encoder, part)
        _save_modules(encoder, part)
        notes = loader_notes(encoder)
        for note in notes:
            log.warning("%s: %s", folder, note)
        ours = {
            "format": FORMAT,
            "direction": encoder.direction,
            "pooling": encoder.pooling.mode,
            "pool_bos": encoder.options.pool_bos,
            "wrapper": [encoder.options.wrapper.prefix, encoder.options.wrapper.suffix],
            "loader_notes": notes,
            **{**encoder.provenance, "versions": versions()},
        }
        _write(part / OURS, ours)
        (part / "README.md").write_text(model_card(encoder, notes), encoding="utf-8")


def _save_backbone(backbone: Any, part: Path, dtype: torch.dtype, encoder: Encoder) -> None:
    config = copy.deepcopy(backbone.config)
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in backbone.state_dict().items()}
    kept = backbone.config
    try:
        config.architectures = [type(backbone).__name__]
        config.dtype = dtype
        if hasattr(config, "auto_map"):  # code of the base's author; the stock class is what was measured
            del config.auto_map
        vllm = _POOLINGS[encoder.pooling.mode][2]
        if vllm is not None:
            config.pooling = vllm
        backbone.config = config
        backbone.save_pretrained(part, state_dict=state)
    finally:
        backbone.config = kept


def _save_tokenizer(encoder: Encoder, part: Path) -> None:
    tokenizer = copy.deepcopy(encoder.tokenizer)
    tokenizer.chat_template = None
    # Left padding shifts learned absolute positions in loaders that count them from the first column.
    tokenizer.padding_side = "right"
    if encoder.max_length is not None:
        tokenizer.model_max_length = encoder.max_length
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(part)


def _save_modules(encoder: Encoder, part: Path) -> None:
    legacy, new, _ = _POOLINGS[encoder.pooling.mode]
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")] + ([("2_Normalize", "Normalize")] if encoder.options.normalize else [])
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ]
    _write(part / MODULES, listed)
    booleans = {name: name == legacy for name, _, _ in _POOLINGS.values()} | {"pooling_mode_mean_sqrt_len_tokens": False}
    pooling = {"word_embedding_dimension": encoder.dimension, **booleans, "pooling_mode": new, "include_prompt": False}
    _write(part / "1_Pooling" / "config.json", pooling)
    if encoder.options.normalize:
        (part / "2_Normalize").mkdir()
    transformer: dict[str, Any] = {"max_seq_length": encoder.max_length, "do_lower_case": False}
    if encoder.execution == "padded" or encoder.provenance.get("report", {}).get("needs_eager"):
        transformer["model_args"] = {"attn_implementation": "eager"}
    _write(part / "sentence_bert_config.json", transformer)
    stored = {
        "prompts": encoder.prompts,
        "default_prompt_name": encoder.options.default_prompt,
        "similarity_fn_name": "cosine",
        "model_type": "SentenceTransformer",
    }
    _write(part / "config_sentence_transformers.json", stored)


def loader_notes(encoder: Encoder) -> list[str]:
    """What the stock layout cannot express, one sentence each: vectors of other loaders differ there."""
    options = encoder.options
    notes = []
    special = encoder.tokenize(["a"])[0]
    if not options.pool_bos and special.pool and not special.pool[0]:
        notes.append("BOS is left out of the pool here; other loaders pool it")
    if options.wrapper.prefix or options.wrapper.suffix:
        notes.append("inputs are wrapped for a chat model here; other loaders need the wrapper in the text or prompt")
    for name, prompt in options.prompts.items():
        own = encoder.tokenizer(prompt)["input_ids"]
        sample = encoder.tokenize(["sample text"], prompt=prompt)[0]
        if own and own[-1] in (encoder.tokenizer.sep_token_id, encoder.tokenizer.eos_token_id):
            own = own[:-1]
        if sample.pool.index(True) != len(own):
            notes.append(
                f"prompt {name!r}: its last token merges with the text ({prompt[-12:]!r}), and sentence-transformers leaves out "
                "one token more or less than this encoder; a prompt that ends without a blank avoids that"
            )
        if encoder.pooling.mode == "weighted_mean" and prompt:
            notes.append(f"prompt {name!r}: sentence-transformers' weighted mean counts positions from the start of the prompt")
    return notes


def load(path: Path, *, device: torch.device, dtype: torch.dtype) -> Encoder:
    """Read a sentence-transformers folder over a decoder (or encoder-only model), ours or anybody's.

    Raises:
        InputError: modules other than Transformer, Pooling and Normalize; several poolings at once; damaged files.
    """
    from bothways.encoder.build import prepare

    modules = _read(path / MODULES)
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    unknown = [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]
    if unknown or kinds[:1] != ["Transformer"] or kinds.count("Pooling") > 1:
        raise InputError(f"{path / MODULES}: modules {kinds} cannot be read; known: one Transformer, one Pooling, Normalize")
    root = path / modules[0]["path"]
    ours = _read(path / OURS) if (path / OURS).exists() else {}
    loaded = load_pretrained(root, dtype=dtype, device=device)
    direction: Direction = ours.get("direction") or _direction(loaded.model)
    # Windows of a folder of ours were lifted when it was made; those of others are as their author meant them.
    windows = "keep" if not ours or ours.get("report", {}).get("kept_windows") else "lift"
    execution, report = prepare(loaded.model, direction, windows)
    mode, include_prompt = _pooling(path, modules, kinds, direction)
    if include_prompt and not ours:
        log.info("%s: its pooling includes prompts; this encoder leaves instructions out of the pool", path)
    options = _options(path, root, kinds, ours, loaded.tokenizer)
    provenance = {k: v for k, v in ours.items() if k not in ("format", "pooling", "pool_bos", "wrapper", "loader_notes")}
    provenance["report"] = report
    provenance.setdefault("base", str(path))
    return Encoder(
        loaded.model,
        loaded.tokenizer,
        Pooling(mode),
        direction=direction,
        execution=execution,
        options=options,
        provenance=provenance,
    )


def _direction(model: Any) -> Direction:
    """The direction a foreign folder claims: encoder-only families are bidirectional, decoders say so in their config."""
    config = model.config
    flags = getattr(config, "is_causal", True) is False, bool(getattr(config, "use_bidirectional_attention", False))
    return "bidirectional" if is_encoder_only(config) or any(flags) else "causal"


def _pooling(path: Path, modules: list[dict[str, Any]], kinds: list[str], direction: Direction) -> tuple[str, bool]:
    if "Pooling" not in kinds:
        return ("mean" if direction == "bidirectional" else "last"), True
    file = path / modules[kinds.index("Pooling")]["path"] / "config.json"
    config = _read(file)
    named = config.get("pooling_mode")
    active = [named] if isinstance(named, str) else [key for key, on in config.items() if key.startswith("pooling_mode_") and on is True]
    active = active or ["mean"]
    if len(active) != 1 or active[0] not in _MODES:
        raise InputError(f"{file}: pooling {active} cannot be read; known: one of {', '.join(_MODES)}")
    return _MODES[active[0]], bool(config.get("include_prompt", True))


def _options(path: Path, root: Path, kinds: list[str], ours: dict[str, Any], tokenizer: Any) -> EncoderOptions:
    stored = _read(path / "config_sentence_transformers.json", {})
    transformer = _read(root / "sentence_bert_config.json", {})
    limit = transformer.get("max_seq_length")
    if limit is None and tokenizer.model_max_length < 10**9 and not ours:
        limit = tokenizer.model_max_length
    return EncoderOptions(
        max_length=limit,
        pool_bos=ours.get("pool_bos", True),
        normalize="Normalize" in kinds,
        prompts=dict(stored.get("prompts") or {}),
        default_prompt=stored.get("default_prompt_name"),
        wrapper=Wrapper(*ours.get("wrapper", ("", ""))),
    )


def _read(file: Path, default: Any = None) -> Any:
    if default is not None and not file.exists():
        return default
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as JSON ({error})") from None


def _write(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
