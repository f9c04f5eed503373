"""Reads published LLM2Vec models, and adapters that our stages keep.

An LLM2Vec model is one or two LoRA adapters over a base LLM, with or without `llm2vec_config.json`.
In an adapter of ours, `bothways.json` holds all of the encoder's settings (`adapter_settings`), and
these override LLM2Vec's.

The custom modeling code that LLM2Vec folders point to is not needed. The base is loaded like any
other and made bidirectional by its attention plan. The adapters are merged in LLM2Vec's order:
first the folder's own (MNTP), then the second one (SimCSE or supervised).

Facts from the authors' code, llm2vec/llm2vec.py:
- If there is a second adapter, settings come from it. The defaults are mean and 512 tokens, and the
  authors' own models rely on them.
- Instructions (`skip_instruction`) and BOS are never pooled, but the chat suffix is.
- Text and instruction are joined by one blank.
- The base model's name decides how inputs of chat models are wrapped.

One thing differs. LLM2Vec also drops whole words until the text alone has at most `doc_max_length`
(400) tokens. Here a text is cut only if it exceeds `max_length` together with everything around it.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from bothways.attention.text_config import state_width, text_configs
from bothways.backbone.adapter.adapter_files import MERGED, NEEDS, local_adapter, merged_in
from bothways.backbone.adapter.merging import adapter_rope, merge_saved
from bothways.backbone.adapter.named_base import named_base
from bothways.backbone.loading.model_source import Source, locate, resolve
from bothways.backbone.loading.sources import Pretrained, load_pretrained, saved_tokenizer
from bothways.backbone.rope import rope_overrides
from bothways.config import Direction
from bothways.encoder.encoder import Encoder, EncoderOptions
from bothways.encoder.folder.adapter_settings import AdapterSettings, read_settings
from bothways.encoder.folder.llm2vec_texts import text_wrapper
from bothways.encoder.prepare_backbone import prepare
from bothways.errors import InputError
from bothways.folder_files import ADAPTER, LLM2VEC
from bothways.foreign import positive, read_object
from bothways.pooling import Pooling
from bothways.provenance import versions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger("bothways")


def is_llm2vec(path: Path) -> bool:
    """Return whether a folder is readable here.

    It is if it has LLM2Vec's settings, settings of ours next to an adapter, or an adapter and a
    config that names LLM2Vec's modeling code.
    """
    if (path / LLM2VEC).is_file():
        return True
    if (path / ADAPTER).is_file() and read_settings(path) is not None:
        return True
    if not ((path / ADAPTER).is_file() and (path / "config.json").is_file()):
        return False
    code = (read_object(path / "config.json").get("auto_map") or {}).get("AutoModel", "")
    return re.search(r"modeling_\w+_encoder\.\w+EncoderModel$", str(code)) is not None


def load(
    path: Path,
    *,
    adapter: str | os.PathLike[str] | None,
    base: str | os.PathLike[str] | None,
    device: torch.device,
    dtype: torch.dtype,
    direction: Direction | None = None,
) -> Encoder:
    """Read an LLM2Vec folder, or an adapter of ours.

    Args:
        path: the folder.
        adapter: a second adapter (folder or hub id), merged after the folder's own.
        base: the base model. If None, the one that the folder names.
        device: device of the encoder.
        dtype: type of its weights. LLM2Vec's adapters are merged in this type, as LLM2Vec does.
            Ours are merged in float32, as training does.
        direction: direction of the attention. If None, use the direction of the adapter of ours,
            else bidirectional.

    Raises:
        InputError: a setting is not supported, or an adapter's weights do not fit the base.
    """
    own = path / ADAPTER
    second = None if adapter is None else find_adapter(adapter)
    places = ([path] if own.is_file() else []) + ([second] if second is not None else [])
    name, named = _base_of(path, base)
    ours = read_settings(places[-1]) if places else None
    exact = dtype if ours is None else torch.float32
    loaded, held = _merged(name, places, dtype=exact, device=device)
    loaded.model.to(dtype)
    loaded.tokenizer = saved_tokenizer(places[-1] if ours is not None else path, loaded)
    if ours is not None:
        _make_room(loaded.model, ours.vocabulary)
    chosen = direction or (ours.direction if ours is not None else "bidirectional")
    execution, report = prepare(loaded.model, chosen)
    family = next(text_configs(loaded.model)).model_type
    pooling, options = _way_to_vectors(path, second, ours, named or str(name), loaded.model, family)
    told = read_object(places[-1] / NEEDS) if ours is not None else {}
    stages = [{"name": place.name, "adapter": str(place)} for place in places]
    provenance = {
        "base": str(name),
        "source": "llm2vec" if ours is None else "adapter",
        "stages": told.get("stages", stages),
        "report": report,
        "versions": versions(),
        MERGED: held,
        **({"merge": told["merge"]} if "merge" in told else {}),
    }
    return Encoder(
        loaded.model,
        loaded.tokenizer,
        pooling.to(device),
        direction=chosen,
        execution=execution,
        options=options,
        provenance=provenance,
    ).eval()


def _merged(
    name: Source, places: list[Path], *, dtype: torch.dtype, device: torch.device
) -> tuple[Pretrained, list[str]]:
    """Load a base and merge adapters in order. The last one names the rotary positions.

    Returns:
        The model, and the fingerprints of all adapters that are merged in it.
    """
    rope = adapter_rope(places[-1]) if places else None
    overrides = None if rope is None else rope_overrides(name, rope)
    loaded = load_pretrained(name, dtype=dtype, device=device, config_overrides=overrides)
    held = merged_in(name)
    for place in places:
        held = merge_saved(loaded.model, place, held)
    return loaded, held


def _base_of(path: Path, base: str | os.PathLike[str] | None) -> tuple[Source, str]:
    """Return the base model, and its name in the folder's adapter ("" if there is none).

    A folder without an adapter has weights of its own.

    Raises:
        InputError: if nothing names a base.
    """
    own = path / ADAPTER
    if not own.is_file():
        return resolve(base or path), ""
    if base:
        return resolve(base), str(read_object(own).get("base_model_name_or_path") or "")
    stated = named_base(path)
    if stated is None:
        raise InputError(f"{own}: names no base model; give it as base=")
    return stated, str(stated)


def add(
    encoder: Encoder, adapter: str | os.PathLike[str], folder: Path, dtype: torch.dtype
) -> Encoder:
    """Merge an adapter into a finished encoder.

    If the adapter has settings, the encoder's vectors are read by these from then on.

    Args:
        encoder: in float32. It is changed in place.
        adapter: folder or hub id. If it is already merged in the encoder, it is not merged again.
        folder: the folder that the encoder was read from.
        dtype: type of the weights afterwards.
    """
    place = find_adapter(adapter)
    held = encoder.provenance.get(MERGED, [])
    encoder.provenance[MERGED] = merge_saved(encoder.backbone, place, held)
    if encoder.provenance[MERGED] == held:
        log.info("%s: %s is already merged, so it is not merged again", folder, adapter)
    encoder.backbone.to(dtype)
    if read_settings(place) is not None or (place / LLM2VEC).is_file():
        follow(encoder, place, base=folder)
    return encoder


def follow(encoder: Encoder, place: Path, *, base: str | os.PathLike[str]) -> None:
    """Read an encoder's vectors by the settings of a folder, ours or LLM2Vec's.

    If the folder has no settings, use LLM2Vec's defaults.

    Args:
        encoder: changed in place.
        place: folder of an adapter that is merged in the encoder, or of a model.
        base: the model's name, which decides how LLM2Vec wraps texts.
    """
    model: Any = encoder.backbone
    family = next(text_configs(model)).model_type
    pooling, encoder.options = _way_to_vectors(
        place, None, read_settings(place), os.fspath(base), model, family
    )
    encoder.pooling = pooling.to(encoder.device)


def _way_to_vectors(
    path: Path,
    second: Path | None,
    ours: AdapterSettings | None,
    base: str,
    model: PreTrainedModel,
    family: str,
) -> tuple[nn.Module, EncoderOptions]:
    """Build pooling and options, from our settings of the last adapter or from LLM2Vec's."""
    if ours is not None:
        width = state_width(model)
        return ours.build_pooling(second or path, width, model.device), ours.options()
    settings = _settings(path, second)
    mode = settings.get("pooling_mode", "mean")
    pooling = Pooling(mode)
    options = EncoderOptions(
        max_length=positive(settings.get("max_length", 512), f"{path / LLM2VEC}: max_length"),
        # BOS comes before the instruction, and is the only token that "bos" pools
        pool_bos=pooling.mode == "bos",
        pool_prompt=pooling.mode == "bos",
        wrapper=text_wrapper(base, eos=mode == "eos_token", model_type=family),
    )
    return pooling, options


def _make_room(model: Any, rows: int) -> None:
    """Add rows for tokens that were added before training, for example MNTP's mask token.

    Users' texts never contain these tokens.
    """
    if rows > len(model.get_input_embeddings().weight):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model.resize_token_embeddings(rows, mean_resizing=False)


def _settings(path: Path, second: Path | None) -> dict[str, Any]:
    """Read LLM2Vec's settings, from the second adapter if it has any, else from the folder."""
    places = [
        place / LLM2VEC
        for place in (second, path)
        if place is not None and (place / LLM2VEC).is_file()
    ]
    settings = read_object(places[0]) if places else {}
    if settings.get("skip_instruction") is False:
        raise InputError(
            f"{places[0]}: skip_instruction is false, but pooling the instruction is not supported; "
            "set it to true if the model did not pool it in training"
        )
    return settings


def find_adapter(adapter: str | os.PathLike[str]) -> Path:
    """Find the folder of an adapter, from a folder, a run of ours (its last stage) or a hub id.

    Raises:
        InputError: there is no adapter.
    """
    place = local_adapter(adapter)
    if not place.is_dir():
        place = locate(adapter).folder or place
    if not (place / ADAPTER).exists():
        raise InputError(f"{adapter}: not an adapter, because it has no {ADAPTER}")
    return place
