"""Sorts arguments of `LLM2Vec.from_pretrained` that belong to transformers.

Some are followed, some do not change a vector, and some are refused. Open this file if an argument
is refused that should not be.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from bothways.backbone.loading.sources import source_config
from bothways.errors import InputError
from bothways.nearest import did_you_mean

_HARMLESS = (
    *(
        "attn_implementation",
        "use_flash_attention_2",
        "low_cpu_mem_usage",
        "use_safetensors",
        "trust_remote_code",
    ),
    *("use_cache", "local_files_only", "output_attentions", "output_hidden_states", "return_dict"),
)
"""Arguments of transformers' `from_pretrained` that do not change a vector here, with any value."""
_REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "revision": ((None, "main"), "download that revision and give its folder"),
    "code_revision": ((None, "main"), "code of model repositories is never run"),
    "subfolder": ((None, ""), "give the folder itself"),
    "variant": ((None,), "give a folder with that variant's files"),
    "cache_dir": ((None,), "set HF_HUB_CACHE in the environment"),
    "force_download": ((None, False), "remove the model from the hub's cache"),
    "config": ((None,), "the model's own config is used"),
    "quantization_config": (
        (None,),
        "quantized weights are not read; use torch_dtype=torch.bfloat16",
    ),
    "load_in_8bit": (
        (None, False),
        "quantized weights are not read; use torch_dtype=torch.bfloat16",
    ),
    "load_in_4bit": (
        (None, False),
        "quantized weights are not read; use torch_dtype=torch.bfloat16",
    ),
    "attention_dropout": (
        (None, 0),
        "dropout is for training: objective.attention_dropout of a recipe",
    ),
    "max_memory": ((None,), "a model is on one device: device_map='cuda:0'"),
    "offload_folder": ((None,), "a model is on one device: device_map='cuda:0'"),
}
"""Arguments that are not supported: values that do not ask for anything, and advice for others."""
SETTINGS = ("pooling_mode", "max_length", "doc_max_length", "skip_instruction")
"""Settings of LLM2Vec itself."""
_ARGUMENTS = (*SETTINGS, "torch_dtype", "dtype", "device_map", "token")
_ANYWHERE = ("auto", "balanced", "balanced_low_0", "sequential")


def check_arguments(given: Mapping[str, Any]) -> None:
    """Refuse arguments that are unknown, or that ask for something that is not supported.

    Raises:
        InputError: if there is one.
    """
    for name, value in given.items():
        if name in _REFUSED:
            allowed, advice = _REFUSED[name]
            if value not in allowed:
                raise InputError(f"{name}: {value!r} cannot be honored; {advice}")
        elif name not in _HARMLESS and name not in _ARGUMENTS:
            hint = did_you_mean(name, [*_ARGUMENTS, *_HARMLESS, *_REFUSED])
            raise InputError(f"unknown argument {name!r}{hint}")


def read_dtype(given: str | torch.dtype | None, base: str | os.PathLike[str]) -> torch.dtype:
    """Return the type for a `torch_dtype`, for example "bfloat16" or torch.bfloat16.

    "auto" is the type in the model's config. If None, float32.

    Raises:
        InputError: if it is another type.
    """
    if given is None:
        return torch.float32  # the default of transformers 4
    if given == "auto":
        config = source_config(base)
        given = (
            getattr(config, "dtype", None) or getattr(config, "torch_dtype", None) or torch.float32
        )
    found = getattr(torch, given.removeprefix("torch."), None) if isinstance(given, str) else given
    if found not in (torch.float32, torch.bfloat16, torch.float16):
        raise InputError(
            f"torch_dtype: must be float32, bfloat16, float16 or 'auto' (got {given!r})"
        )
    return found


def device_of(given: str | int | torch.device | Mapping[str, Any] | None) -> torch.device:
    """Return the device for a `device_map`, for example "cuda:0", 0, "auto" or {"": "cpu"}.

    Raises:
        InputError: if it is not a device, or names several.
    """
    if isinstance(given, Mapping) and len(set(map(str, given.values()))) == 1:
        given = next(iter(given.values()))
    if given is None or given in _ANYWHERE:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if isinstance(given, Mapping):
        raise InputError(
            f"device_map: a model is on one device here, for example device_map='cuda:0' (got {dict(given)!r:.80})"
        )
    try:
        return torch.device("cuda", given) if isinstance(given, int) else torch.device(given)
    except (RuntimeError, TypeError):
        raise InputError(
            f"device_map: must be a device such as 'cuda:0' or 'cpu', or 'auto' (got {given!r})"
        ) from None


@contextmanager
def token_for_hub(given: str | bool | None) -> Iterator[None]:
    """Let the hub's client use a token while models are loaded."""
    if not isinstance(given, str):
        yield
        return
    before = os.environ.get("HF_TOKEN")
    os.environ["HF_TOKEN"] = given
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_TOKEN"]
        else:
            os.environ["HF_TOKEN"] = before
