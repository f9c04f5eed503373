"""Published LLM2Vec models: a folder with `llm2vec_config.json` and one or two LoRA adapters over a base LLM.

The custom modelling code that such folders point to is not needed: the base is loaded as any other, made bidirectional by its
attention plan, and the adapters are merged in the order LLM2Vec merges them (first the folder's own, MNTP; then the second, SimCSE
or supervised). Facts from the authors' code, llm2vec/llm2vec.py: instructions are never pooled (`skip_instruction`), BOS neither,
the chat suffix is; text and instruction are joined by one blank; inputs of chat models are wrapped by base model name.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import torch

from bothways.backbone.hub import snapshot
from bothways.backbone.sources import load_pretrained, resolve
from bothways.encoder.encoder import Encoder, EncoderOptions
from bothways.encoder.tokenization import Wrapper
from bothways.errors import InputError
from bothways.pooling import Pooling
from bothways.provenance import versions

CONFIG = "llm2vec_config.json"
ADAPTER = "adapter_config.json"

_LLAMA3 = Wrapper("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>")
_INST = Wrapper("[INST] ", " [/INST]")
# the base models whose inputs LLM2Vec wraps (prepare_for_tokenization)
_WRAPPERS = {
    "meta-llama-3-8b-instruct": _LLAMA3,
    "meta-llama-3.1-8b-instruct": _LLAMA3,
    "mistral-7b-instruct-v0.2": _INST,
    "llama-2-7b-chat-hf": _INST,
}

log = logging.getLogger("bothways")


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

    settings = _json(path / CONFIG)
    if settings.get("skip_instruction") is False:
        raise InputError(f"{path / CONFIG}: skip_instruction false pools the instruction, which this encoder never does")
    own = path / ADAPTER
    name = str(base or (_json(own)["base_model_name_or_path"] if own.exists() else path))
    loaded = load_pretrained(name, dtype=dtype, device=device)
    model: Any = loaded.model
    merged = []
    for place in [path] * own.exists() + ([_folder(adapter)] if adapter is not None else []):
        model = _merge(model, place)
        merged.append(str(place))
    execution, report = prepare(model, "bidirectional")
    wrapper = _WRAPPERS.get(name.rstrip("/").rsplit("/", 1)[-1].lower(), Wrapper())
    options = EncoderOptions(max_length=settings.get("max_length", 512), pool_bos=False, wrapper=wrapper)
    provenance = {"base": name, "format": "llm2vec", "stages": merged, "report": report, "versions": versions()}
    return Encoder(
        model,
        loaded.tokenizer,
        Pooling(settings.get("pooling_mode", "mean")),
        direction="bidirectional",
        execution=execution,
        options=options,
        provenance=provenance,
    )


def _merge(model: Any, place: Path) -> Any:
    """The model with one adapter merged; every adapter weight must have found its place."""
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
    from peft.utils import load_peft_weights

    config = PeftConfig.from_pretrained(str(place))
    config.inference_mode = True
    weights = load_peft_weights(str(place), device="cpu")
    # adapters that were trained on the whole causal LM name its decoder "model."; ours are bare
    weights = {key.replace("base_model.model.model.", "base_model.model."): value for key, value in weights.items()}
    wrapped = get_peft_model(model, config)
    result = set_peft_model_state_dict(wrapped, weights)
    missing = [key for key in result.missing_keys if "lora_" in key]
    if result.unexpected_keys or missing:
        wrong = (list(result.unexpected_keys) or missing)[0]
        raise InputError(f"{place}: the adapter does not fit {type(model).__name__}, e.g. {wrong}; is the base model the right one?")
    return wrapped.merge_and_unload()


def _folder(adapter: str | os.PathLike[str]) -> Path:
    if Path(adapter).is_dir():
        place = Path(adapter)
    else:
        place = snapshot(resolve(str(adapter)))
    if not (place / ADAPTER).exists():
        raise InputError(f"{adapter}: no {ADAPTER} here, so it is no adapter")
    return place


def _json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as JSON ({error})") from None
