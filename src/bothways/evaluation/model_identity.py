"""Which model is this? A fingerprint that tells any two models apart that could score differently, in milliseconds even at 7B.

Hashing all weights of a 7B model takes as long as loading it, and files would not do: two fine-tunes of one base have equal names,
sizes and headers, an encoder converted in memory has no files at all. So the weights themselves are sampled: of every tensor its name,
type, shape and 256 of its numbers, evenly spaced. Training changes (nearly) all numbers of what it trains; a change that leaves every
sampled number as it was, of one token's embedding say, goes unnoticed. Beside the weights count what else changes a vector: the
configuration, vocabulary, direction, pooling, lengths, prompts, and the precision the weights are held in. Names, paths, devices and
library versions do not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch

_SAMPLE = 256
# of a configuration: where it came from and how it is run, neither of which is the model
_VOLATILE = {"transformers_version", "architectures", "dtype", "torch_dtype", "attn_implementation", "pooling", "use_cache"}
# of an encoder: measured or noted about the machine or the run
_PASSING = {"training", "execution", "provenance", "device", "model_card_data"}


def model_fingerprint(encoder: Any) -> str:
    """SHA-256 (64 hex digits) of what an encoder is.

    A torch module is told by its sampled weights and its settings; any other object by its class and plain attributes (BM25's k1 and
    b, the modules it wraps), so that an encoder behind an interface should carry what tells it apart in an attribute.
    """
    digest = hashlib.sha256()
    _add(digest, type(encoder).__qualname__)
    if isinstance(encoder, torch.nn.Module):
        _add_module(digest, encoder)
    else:
        _add(digest, _plain(encoder))
        for name, value in sorted(getattr(encoder, "__dict__", {}).items()):
            if isinstance(value, torch.nn.Module):
                _add(digest, name)
                _add_module(digest, value)
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    raw = json.dumps(value, sort_keys=True, default=lambda other: type(other).__name__).encode("utf-8", "surrogatepass")
    digest.update(len(raw).to_bytes(8, "little"))
    digest.update(raw)


def _add_module(digest: Any, module: torch.nn.Module) -> None:
    _add(digest, _plain(module))
    for name, child in module.named_children():  # pooling and the like; a model's own attributes are in its configuration
        _add(digest, [name, type(child).__name__, {} if hasattr(child, "config") else _plain(child)])
    for config in _configurations(module):
        facts = config.to_diff_dict()
        _add(digest, {key: value for key, value in facts.items() if key not in _VOLATILE and not key.startswith("_")})
    tokenizer: Any = getattr(module, "tokenizer", None)
    if hasattr(tokenizer, "get_vocab"):
        _add(digest, tokenizer.get_vocab())
    for name, tensor in sorted(module.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            _add(digest, [name, str(tensor.dtype), list(tensor.shape)])
            digest.update(_sample(tensor))


def _configurations(module: torch.nn.Module) -> list[Any]:
    """The transformers configurations of a module and its parts, each once."""
    found: dict[int, Any] = {}
    for part in module.modules():
        config: Any = getattr(part, "config", None)
        if hasattr(config, "to_diff_dict"):
            found.setdefault(id(config), config)
    return list(found.values())


def _sample(tensor: torch.Tensor) -> bytes:
    """`_SAMPLE` evenly spaced numbers of a tensor, all of a smaller one."""
    if tensor.device.type == "meta" or tensor.numel() == 0:
        return b""
    flat = tensor.detach().reshape(-1)
    if len(flat) > _SAMPLE:
        places = torch.arange(_SAMPLE, device=flat.device) * (len(flat) - 1) // (_SAMPLE - 1)
        flat = flat[places]
    kind = torch.complex128 if flat.is_complex() else torch.float64
    return bytes(flat.cpu().to(kind).numpy().tobytes())


def _plain(thing: Any) -> dict[str, Any]:
    """The public attributes of an object that are plain values, or collections of them; and its options."""
    found = {}
    for name, value in getattr(thing, "__dict__", {}).items():
        if name.startswith("_") or name in _PASSING:
            continue
        if name == "options" and dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        if _is_plain(value):
            found[name] = value
    return found


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (str, int, float, bool))
