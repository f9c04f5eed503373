"""Which encoder is this, to the bit: a digest of what decides its states, for results that are kept on disk.

Names and paths lie (a folder is trained anew under its old name), so the weights themselves are read; at about a gigabyte a second
that is little beside encoding anything. `model_identity.py` samples them, which is right for telling results apart in milliseconds; a cache
that outlives the run must not miss a change to one token's embedding, and need not care about pooling and prompts.
"""

from __future__ import annotations

import hashlib
import json

import torch

from bothways.attention.text_config import text_configs, windowed_layers
from bothways.encoder.encoder import Encoder


def encoder_digest(encoder: Encoder) -> str:
    """SHA-256 (64 hex digits) over weights with their dtype, adapters' settings, direction, windows and tokenizer."""
    digest = hashlib.sha256()
    for name, value in sorted(encoder.backbone.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    for name, module in encoder.backbone.named_modules():
        if hasattr(module, "lora_A"):  # its scaling and its switch are no weights
            state = (module.scaling, module.disable_adapters, module.active_adapters, module.merged_adapters)
            digest.update(f"{name} {state!r}\n".encode())
    config = next(text_configs(encoder.backbone))
    facts = {
        "direction": encoder.direction,
        "windows": windowed_layers(config),
        "config": {
            key: value for key, value in config.to_dict().items() if key not in ("_name_or_path", "transformers_version")
        },
    }
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    digest.update(encoder.tokenizer.backend_tokenizer.to_str().encode())
    return digest.hexdigest()
