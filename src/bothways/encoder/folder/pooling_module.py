"""A trained pooling in the sentence-transformers layout: settings, weights, and a file of code.

    1_AttentionPooling/config.json, model.safetensors    settings and float32 weights
    attention_pooling.py                                 copy of that module of bothways

`encoder.folder.write` and `read` handle stock modules only, so this module has a file of its own.
sentence-transformers runs the copied code if you pass trust_remote_code=True, and refuses the
folder otherwise. bothways reads settings and weights, and never runs code from a folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import nn

from bothways.config import Strict, parse
from bothways.errors import InputError
from bothways.foreign import read_object, read_tensors
from bothways.pooling import PoolingConfig, attention_pooling
from bothways.pooling.attention_pooling import HEADS, LATENTS
from bothways.pooling.config import TRAINED

KIND = "AttentionPooling"
CODE = Path(attention_pooling.__file__)
TYPE = f"{CODE.stem}.{KIND}"
"""Its name in modules.json: a file of the folder and a class in it."""


class _Stored(Strict):
    """config.json of the module's folder: arguments of `attention_pooling.AttentionPooling`."""

    width: int = Field(ge=1)
    mode: Literal["latent_attention", "self_attention"]
    latents: int = Field(default=LATENTS, ge=1)
    heads: int = Field(default=HEADS, ge=1)
    head_width: int | None = Field(default=None, ge=1)
    form: Literal["code", "paper"] = "code"
    include_prompt: bool = False
    # Only for sentence-transformers. Here they follow from tokenizer, bothways.json and stored
    # prompts.
    bos: int | None = None
    prompts: tuple[tuple[int, ...], ...] = ()


def is_trained(pooling: nn.Module) -> bool:
    """Return whether a pooling needs a module of its own in the folder."""
    return getattr(pooling, "mode", None) in TRAINED


def write(
    pooling: Any,
    root: Path,
    folder: str,
    *,
    include_prompt: bool,
    bos: int | None,
    prompts: Sequence[Sequence[int]],
) -> None:
    """Write settings, code, and weights, which are always float32, the type they compute in.

    Args:
        pooling: `LatentAttention` or `SelfAttention`, or one of them with layers behind it, which
            are not written here.
        root: folder of the encoder, which receives the code.
        folder: name of the module's folder in it.
        include_prompt: whether prompts are pooled too.
        bos: token that is not pooled, see `attention_pooling.AttentionPooling`.
        prompts: tokens of prompts that are not pooled.
    """
    pooling = getattr(pooling, "inner", pooling)
    place = root / folder
    place.mkdir()
    left_out = {
        "include_prompt": include_prompt,
        "bos": bos,
        "prompts": [list(ids) for ids in prompts],
    }
    stored = {"width": pooling.dimension, **pooling.settings, **left_out}
    (place / "config.json").write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
    tensors = {
        name: value.detach().float().cpu().contiguous()
        for name, value in pooling.state_dict().items()
    }
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(CODE, root / CODE.name)


def read(place: Path, *, width: int, device: torch.device) -> tuple[nn.Module, bool]:
    """Read the pooling of a module folder, and whether prompts are pooled too.

    Args:
        place: the module's folder.
        width: width of the backbone's states.
        device: device of the weights.

    Raises:
        InputError: damaged files, or sizes that do not fit the backbone or each other.
    """
    file = place / "config.json"
    stored = parse(_Stored, read_object(file), where=str(file))
    tensors = read_tensors(place / "model.safetensors")
    if stored.width != width:
        raise InputError(
            f"{file}: width is {stored.width}, but the model's states have {width}; the pooling belongs to another model"
        )
    latent: dict[str, Any] = (
        {"latents": stored.latents, "form": stored.form}
        if stored.mode == "latent_attention"
        else {}
    )
    config = PoolingConfig(
        mode=stored.mode, heads=stored.heads, head_width=stored.head_width, **latent
    )
    with torch.device("meta"):
        module = config.build(width)
    expected = {name: value.shape for name, value in module.state_dict().items()}
    if {name: value.shape for name, value in tensors.items()} != expected:
        raise InputError(
            f"{place / 'model.safetensors'}: the tensors do not fit the sizes in config.json; the folder is damaged"
        )
    module.load_state_dict(
        {name: value.float().to(device) for name, value in tensors.items()}, assign=True
    )
    return module, stored.include_prompt
