"""Published LLM2Vec models: one or two LoRA adapters over a base LLM, with or without `llm2vec_config.json`. Adapters that our stages
keep are read here too: their `bothways.json` holds all of the encoder's settings (`adapter_settings`), which go before LLM2Vec's.

The custom modelling code that such folders point to is not needed: the base is loaded as any other, made bidirectional by its
attention plan, and the adapters are merged in the order LLM2Vec merges them (first the folder's own, MNTP; then the second, SimCSE
or supervised). Facts from the authors' code, llm2vec/llm2vec.py: settings come from the second adapter where there is one, and have
defaults (mean, 512 tokens), which the authors' own models rely on; instructions are never pooled (`skip_instruction`), BOS neither,
the chat suffix is; text and instruction are joined by one blank; inputs of chat models are wrapped by the base model's name.

One thing differs: LLM2Vec also drops whole words until the text alone has at most `doc_max_length` (400) tokens. Here a text is cut
once, where it exceeds `max_length` with everything around it.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bothways.attention.text_config import text_configs
from bothways.backbone.adapter_files import MERGED, NEEDS, local_adapter, merged_in
from bothways.backbone.checkpoints import read_tokenizer
from bothways.backbone.hub import snapshot
from bothways.backbone.merging import adapter_rope, merge_saved
from bothways.backbone.rope import rope_overrides
from bothways.backbone.sources import load_pretrained, resolve
from bothways.backbone.tokenizers import prepare_tokenizer
from bothways.config import Direction
from bothways.encoder.encoder import Encoder, EncoderOptions
from bothways.encoder.folder.adapter_settings import LLM2VEC, AdapterSettings, read_settings
from bothways.encoder.folder.llm2vec_texts import text_wrapper
from bothways.errors import InputError
from bothways.foreign import positive, read_object
from bothways.pooling import Pooling
from bothways.provenance import versions

log = logging.getLogger("bothways")

CONFIG = LLM2VEC
ADAPTER = "adapter_config.json"


def is_llm2vec(path: Path) -> bool:
    """Whether a folder is one of LLM2Vec's: its settings, or an adapter beside a config that names its modelling code."""
    if (path / CONFIG).is_file():
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
        base: the base model; None for the one that the folder names.
        device: where to put the encoder.
        dtype: type of its weights. LLM2Vec's adapters are merged in this type, as it does; ours in float32, as training merges them.
        direction: of the attention; None for what the adapter of ours says, else bidirectional.

    Raises:
        InputError: settings this encoder has no equivalent for, or an adapter whose weights do not fit the base.
    """
    from bothways.encoder.convert import prepare

    own = path / ADAPTER
    second = None if adapter is None else find_adapter(adapter)
    places = ([path] if own.is_file() else []) + ([second] if second is not None else [])
    named = str(read_object(own).get("base_model_name_or_path") or "") if own.is_file() else ""
    name = base or named or (path if not own.is_file() else None)
    if name is None:
        raise InputError(f"{own}: names no base model; give it as base=")
    ours = read_settings(places[-1]) if places else None
    rope = adapter_rope(places[-1]) if places else None
    loaded = load_pretrained(
        name,
        dtype=dtype if ours is None else torch.float32,
        device=device,
        config_overrides=None if rope is None else rope_overrides(name, rope),
    )
    held = merged_in(name)
    for place in places:
        held = merge_saved(loaded.model, place, held)
    loaded.model.to(dtype)
    source = places[-1] if ours is not None else path
    if any((source / file).is_file() for file in ("tokenizer.json", "tokenizer.model")):
        loaded.tokenizer = prepare_tokenizer(read_tokenizer(str(source), str(source)), loaded.model.config)
    if ours is not None:
        _make_room(loaded.model, ours.vocabulary)
    chosen = direction or (ours.direction if ours is not None else "bidirectional")
    execution, report = prepare(loaded.model, chosen)
    family = next(text_configs(loaded.model)).model_type
    pooling, options = _way_to_vectors(path, second, ours, named or str(name), loaded.model, family)
    stages = [{"name": place.name, "adapter": str(place)} for place in places]
    if ours is not None:
        stages = read_object(places[-1] / NEEDS).get("stages", stages)
    provenance = {
        "base": str(name),
        "source": "llm2vec" if ours is None else "adapter",
        "stages": stages,
        "report": report,
        "versions": versions(),
        MERGED: held,
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


def add(encoder: Encoder, adapter: str | os.PathLike[str], folder: Path, dtype: torch.dtype) -> Encoder:
    """Merge an adapter into a finished encoder, whose vectors are then read as the adapter's settings say, if it has any.

    Args:
        encoder: in float32; changed in place.
        adapter: folder or hub id. If the encoder holds it already, it is not merged again.
        folder: that the encoder was read from.
        dtype: type of the weights afterwards.
    """
    place = find_adapter(adapter)
    held = encoder.provenance.get(MERGED, [])
    encoder.provenance[MERGED] = merge_saved(encoder.backbone, place, held)
    if encoder.provenance[MERGED] == held:
        log.info("%s: holds %s already, which is not merged again", folder, adapter)
    encoder.backbone.to(dtype)
    if read_settings(place) is not None or (place / CONFIG).is_file():
        follow(encoder, place, base=folder)
    return encoder


def follow(encoder: Encoder, place: Path, *, base: str | os.PathLike[str]) -> None:
    """Read an encoder's vectors as the settings of a folder say, ours or LLM2Vec's; by LLM2Vec's defaults if there are none.

    Args:
        encoder: changed in place.
        place: of an adapter that it holds, or of a model.
        base: the model's name, by which LLM2Vec wraps texts.
    """
    model: Any = encoder.backbone
    family = next(text_configs(model)).model_type
    pooling, encoder.options = _way_to_vectors(place, None, read_settings(place), os.fspath(base), model, family)
    encoder.pooling = pooling.to(encoder.device)


def _way_to_vectors(
    path: Path, second: Path | None, ours: AdapterSettings | None, base: str, model: Any, family: str
) -> tuple[nn.Module, EncoderOptions]:
    """Pooling and options, by our settings of the last adapter or by LLM2Vec's."""
    if ours is not None:
        width = int(model.config.get_text_config().hidden_size)
        return ours.build_pooling(second or path, width, model.device), ours.options()
    settings = _settings(path, second)
    mode = settings.get("pooling_mode", "mean")
    pooling = Pooling(mode)
    options = EncoderOptions(
        max_length=positive(settings.get("max_length", 512), f"{path / CONFIG}: max_length"),
        # BOS stands before the instruction, and is all that "bos" pools
        pool_bos=pooling.mode == "bos",
        pool_prompt=pooling.mode == "bos",
        wrapper=text_wrapper(base, eos=mode == "eos_token", model_type=family),
    )
    return pooling, options


def _make_room(model: Any, rows: int) -> None:
    """Rows for tokens that were added before training and that no text of a user's has, as MNTP's mask token."""
    if rows > len(model.get_input_embeddings().weight):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model.resize_token_embeddings(rows, mean_resizing=False)


def _settings(path: Path, second: Path | None) -> dict[str, Any]:
    """The settings that LLM2Vec would use: those of the second adapter, where it is given, else those of the folder."""
    places = [place / CONFIG for place in (second, path) if place is not None and (place / CONFIG).is_file()]
    settings = read_object(places[0]) if places else {}
    if settings.get("skip_instruction") is False:
        raise InputError(f"{places[0]}: skip_instruction false pools the instruction, which this encoder never does")
    return settings


def find_adapter(adapter: str | os.PathLike[str]) -> Path:
    """The folder of an adapter: a folder, a run of ours for its last stage's adapter, or a hub id's snapshot.

    Raises:
        InputError: no adapter there.
    """
    place = local_adapter(adapter)
    if not place.is_dir():
        place = snapshot(resolve(adapter))
    if not (place / ADAPTER).exists():
        raise InputError(f"{adapter}: no {ADAPTER} here, so it is no adapter")
    return place
