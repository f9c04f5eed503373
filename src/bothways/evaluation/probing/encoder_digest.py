"""An exact digest of everything that determines an encoder's states, for results cached on disk.

Names and paths are not reliable: a folder can be trained again under its old name. So the weights
themselves are read, at about a gigabyte a second, which is little compared with encoding.
`model_identity.py` only samples them, which suffices to distinguish results in milliseconds. A
cache lives longer than a run and must not miss a change to the embedding of one token. It does not
depend on pooling and prompts.
"""

from __future__ import annotations

import hashlib
import json

import torch

from bothways.attention.text_config import text_configs, windowed_layers
from bothways.encoder.encoder import Encoder


def encoder_digest(encoder: Encoder) -> str:
    """Compute a SHA-256 (64 hex digits) over the parts of an encoder that determine its states.

    They are weights with their dtype, settings of adapters, direction, windows and tokenizer.
    """
    digest = hashlib.sha256()
    for name, value in sorted(encoder.backbone.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    for name, module in encoder.backbone.named_modules():
        if hasattr(module, "lora_A"):  # its scaling and its switch are not among the weights
            state = (
                module.scaling,
                module.disable_adapters,
                module.active_adapters,
                module.merged_adapters,
            )
            digest.update(f"{name} {state!r}\n".encode())
    config = next(text_configs(encoder.backbone))
    facts = {
        "direction": encoder.direction,
        "windows": windowed_layers(config),
        "config": {
            key: value
            for key, value in config.to_dict().items()
            if key not in ("_name_or_path", "transformers_version")
        },
    }
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    digest.update(encoder.tokenizer.backend_tokenizer.to_str().encode())
    return digest.hexdigest()
