"""Published LLM2Vec models: one or two LoRA adapters over a base LLM, with or without `llm2vec_config.json`.

The custom modelling code that such folders point to is not needed: the base is loaded as any other, made bidirectional by its
attention plan, and the adapters are merged in the order LLM2Vec merges them (first the folder's own, MNTP; then the second, SimCSE
or supervised). Facts from the authors' code, llm2vec/llm2vec.py: settings come from the second adapter where there is one, and have
defaults (mean, 512 tokens), which the authors' own models rely on; instructions are never pooled (`skip_instruction`), BOS neither,
the chat suffix is; text and instruction are joined by one blank; inputs of chat models are wrapped by the base model's name.

One thing differs: LLM2Vec also drops whole words until the text alone has at most `doc_max_length` (400) tokens. Here a text is cut
once, where it exceeds `max_length` with everything around it.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import torch

from bothways.attention.text_config import text_configs
from bothways.backbone.adapters import merge_saved
from bothways.backbone.checkpoints import read_tokenizer
from bothways.backbone.hub import snapshot
from bothways.backbone.sources import load_pretrained, resolve
from bothways.backbone.tokenizers import prepare_tokenizer
from bothways.encoder.encoder import Encoder, EncoderOptions
from bothways.encoder.llm2vec_texts import text_wrapper
from bothways.errors import InputError
from bothways.pooling import Pooling
from bothways.provenance import versions

CONFIG = "llm2vec_config.json"
ADAPTER = "adapter_config.json"


def is_llm2vec(path: Path) -> bool:
    """Whether a folder is one of LLM2Vec's: its settings, or an adapter beside a config that names its modelling code."""
    if (path / CONFIG).is_file():
        return True
    if not ((path / ADAPTER).is_file() and (path / "config.json").is_file()):
        return False
    code = (_json(path / "config.json").get("auto_map") or {}).get("AutoModel", "")
    return re.search(r"modeling_\w+_encoder\.\w+EncoderModel$", str(code)) is not None


def load(
    path: Path,
    *,
    adapter: str | os.PathLike[str] | None,
    base: str | os.PathLike[str] | None,
    device: torch.device,
    dtype: torch.dtype,
) -> Encoder:
    """Read an LLM2Vec folder.

    Args:
        path: the folder.
        adapter: a second adapter (folder or hub id), merged after the folder's own.
        base: the base model; None for the one that the folder names.
        device: where to put the encoder.
        dtype: type of its weights. Adapters are merged in this type, as LLM2Vec does.

    Raises:
        InputError: settings this encoder has no equivalent for, or an adapter whose weights do not fit the base.
    """
    from bothways.encoder.build import prepare

    own = path / ADAPTER
    second = None if adapter is None else _folder(adapter)
    settings = _settings(path, second)
    named = str(_json(own).get("base_model_name_or_path") or "") if own.is_file() else ""
    name = base or named or (path if not own.is_file() else None)
    if name is None:
        raise InputError(f"{own}: names no base model; give it as base=")
    loaded = load_pretrained(name, dtype=dtype, device=device)
    places = ([path] if own.is_file() else []) + ([second] if second is not None else [])
    for place in places:
        merge_saved(loaded.model, place)
    if any((path / file).is_file() for file in ("tokenizer.json", "tokenizer.model")):
        loaded.tokenizer = prepare_tokenizer(read_tokenizer(str(path), str(path)), loaded.model.config)
    execution, report = prepare(loaded.model, "bidirectional")
    pooling = Pooling(settings.get("pooling_mode", "mean"))
    options = EncoderOptions(
        max_length=int(settings.get("max_length", 512)),
        pool_bos=pooling.mode == "bos",
        wrapper=text_wrapper(
            named or str(name),
            eos=settings.get("pooling_mode") == "eos_token",
            model_type=next(text_configs(loaded.model)).model_type,
        ),
    )
    stages = [{"name": place.name, "adapter": str(place)} for place in places]
    provenance = {"base": str(name), "source": "llm2vec", "stages": stages, "report": report, "versions": versions()}
    return Encoder(
        loaded.model,
        loaded.tokenizer,
        pooling,
        direction="bidirectional",
        execution=execution,
        options=options,
        provenance=provenance,
    ).eval()


def _settings(path: Path, second: Path | None) -> dict[str, Any]:
    """The settings that LLM2Vec would use: those of the second adapter, where it is given, else those of the folder."""
    places = [place / CONFIG for place in (second, path) if place is not None and (place / CONFIG).is_file()]
    settings = _json(places[0]) if places else {}
    if settings.get("skip_instruction") is False:
        raise InputError(f"{places[0]}: skip_instruction false pools the instruction, which this encoder never does")
    return settings


def _folder(adapter: str | os.PathLike[str]) -> Path:
    place = Path(adapter).expanduser()
    if not place.is_dir():
        place = snapshot(resolve(adapter))
    if not (place / ADAPTER).exists():
        raise InputError(f"{adapter}: no {ADAPTER} here, so it is no adapter")
    return place


def _json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{file}: cannot be read as a JSON object ({' '.join(str(error).split())})") from None
