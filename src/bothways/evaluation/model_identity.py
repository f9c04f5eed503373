"""Fingerprints of models: they differ for any two models that could score differently.

A fingerprint takes milliseconds, even at 7B. To hash all weights of a 7B model takes as long as to
load it. To hash files would not work: two fine-tunes of one base have equal names, sizes and
headers, and an encoder converted in memory does not have files. So the weights are sampled. Of
every tensor, the fingerprint contains its name, type, shape and 256 of its numbers, evenly spaced.
Training changes (nearly) all numbers of the tensors that it trains. A change that leaves every
sampled number as it was, for example in the embedding of one token, goes unnoticed.

The fingerprint also contains everything else that changes a vector: configuration, vocabulary,
direction, pooling, lengths, prompts and the precision of the weights. It does not contain names,
paths, devices and library versions.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch

_SAMPLE = 256
# fields of a configuration that name its origin or how it is run, which do not change the model
_VOLATILE = {
    "transformers_version",
    "architectures",
    "dtype",
    "torch_dtype",
    "attn_implementation",
    "pooling",
    "use_cache",
}
# attributes of an encoder that describe the machine or the run
_PASSING = {"training", "execution", "provenance", "device", "model_card_data"}


def model_fingerprint(encoder: object, *, rounded: torch.dtype | None = None) -> str:
    """Compute the SHA-256 (64 hex digits) of an encoder.

    A torch module is identified by its sampled weights and its settings. Any other object is
    identified by its class, its plain attributes (for example BM25's k1 and b) and the modules
    among its attributes. So if your encoder calls a remote service, give it an attribute that
    identifies the model.

    Args:
        encoder: any encoder.
        rounded: a floating type, for example torch.bfloat16. Weights are rounded to it, and their
            own type does not count. So a model has one fingerprint in float32 and in this type. If
            None, the precision counts.
    """
    digest = hashlib.sha256()
    _add(digest, type(encoder).__qualname__)
    # among the options of our encoders, but behind a property of a SentenceTransformer
    similarity = getattr(encoder, "similarity_fn_name", None)
    if similarity not in (None, "cosine") and not hasattr(encoder, "options"):
        _add(digest, {"similarity_fn_name": str(similarity)})
    if isinstance(encoder, torch.nn.Module):
        _add_module(digest, encoder, rounded)
    else:
        _add(digest, _plain(encoder))
        for name, value in sorted(getattr(encoder, "__dict__", {}).items()):
            if isinstance(value, torch.nn.Module):
                _add(digest, name)
                _add_module(digest, value, rounded)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, value: object) -> None:
    raw = json.dumps(value, sort_keys=True, default=lambda other: type(other).__name__).encode(
        "utf-8", "surrogatepass"
    )
    digest.update(len(raw).to_bytes(8, "little"))
    digest.update(raw)


def _add_module(
    digest: hashlib._Hash, module: torch.nn.Module, rounded: torch.dtype | None
) -> None:
    _add(digest, _plain(module, defaults=rounded is None))
    # pooling and similar parts. The attributes of a transformers model are in its configuration.
    for name, child in module.named_children():
        _add(
            digest, [name, type(child).__name__, {} if hasattr(child, "config") else _plain(child)]
        )
    for config in _configurations(module):
        facts = config.to_diff_dict()
        _add(
            digest,
            {
                key: value
                for key, value in facts.items()
                if key not in _VOLATILE and not key.startswith("_")
            },
        )
    tokenizer: Any = getattr(module, "tokenizer", None)
    if hasattr(tokenizer, "get_vocab"):
        _add(digest, tokenizer.get_vocab())
    for name, tensor in sorted(module.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            kind = "" if rounded is not None and tensor.is_floating_point() else str(tensor.dtype)
            _add(digest, [name, kind, list(tensor.shape)])
            digest.update(_sample(tensor, rounded))


def _configurations(module: torch.nn.Module) -> list[Any]:
    """Return the transformers configurations of a module and its parts, each once."""
    found: dict[int, Any] = {}
    for part in module.modules():
        config: Any = getattr(part, "config", None)
        if hasattr(config, "to_diff_dict"):
            found.setdefault(id(config), config)
    return list(found.values())


def _sample(tensor: torch.Tensor, rounded: torch.dtype | None) -> bytes:
    """Return `_SAMPLE` evenly spaced numbers of a tensor, or all of a smaller one, as bytes."""
    if tensor.device.type == "meta" or tensor.numel() == 0:
        return b""
    flat = tensor.detach().reshape(-1)
    if len(flat) > _SAMPLE:
        places = torch.arange(_SAMPLE, device=flat.device) * (len(flat) - 1) // (_SAMPLE - 1)
        flat = flat[places]
    if rounded is not None and flat.is_floating_point():
        flat = flat.to(rounded)
    kind = torch.complex128 if flat.is_complex() else torch.float64
    return bytes(flat.cpu().to(kind).numpy().tobytes())


def _plain(thing: object, *, defaults: bool = True) -> dict[str, Any]:
    """Return the public attributes of an object that are plain values or collections of them.

    Without `defaults`, options count only if they have another value. Then a later version may have
    a new option, and the fingerprint stays.

    The fields of its options are included.
    """
    found = {}
    for name, value in getattr(thing, "__dict__", {}).items():
        if name.startswith("_") or name in _PASSING:
            continue
        if name == "options" and dataclasses.is_dataclass(value) and not isinstance(value, type):
            options, value = value, dataclasses.asdict(value)
            if not defaults:
                usual = dataclasses.asdict(type(options)())
                value = {key: each for key, each in value.items() if usual.get(key) != each}
        if _is_plain(value):
            found[name] = value
    return found


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (str, int, float, bool))
