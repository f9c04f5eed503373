"""A trained pooling in the sentence-transformers layout: its settings, its weights, and the file with its code.

    1_AttentionPooling/config.json, model.safetensors    settings and float32 weights
    attention_pooling.py                                 `bothways.pooling.attention_pooling`, copied as it is

It stands apart from storage and reading because those deal in stock modules. sentence-transformers runs the file from the folder, when
told trust_remote_code=True, and refuses the folder otherwise; we read settings and weights, and never run what a folder brings.
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
"""What modules.json calls it: a file of the folder and a class in it."""


class _Stored(Strict):
    """config.json of the module's folder: arguments of `attention_pooling.AttentionPooling`."""

    width: int = Field(ge=1)
    mode: Literal["latent_attention", "self_attention"]
    latents: int = Field(default=LATENTS, ge=1)
    heads: int = Field(default=HEADS, ge=1)
    head_width: int | None = Field(default=None, ge=1)
    form: Literal["code", "paper"] = "code"
    include_prompt: bool = False
    # for sentence-transformers alone; here they follow from the tokenizer, bothways.json and the stored prompts
    bos: int | None = None
    prompts: tuple[tuple[int, ...], ...] = ()


def is_trained(pooling: nn.Module) -> bool:
    """Whether a pooling needs a module of its own in the folder."""
    return getattr(pooling, "mode", None) in TRAINED


def write(
    pooling: Any, root: Path, folder: str, *, include_prompt: bool, bos: int | None, prompts: Sequence[Sequence[int]]
) -> None:
    """Write settings, weights (always float32, the type they compute in) and code.

    Args:
        pooling: `LatentAttention` or `SelfAttention`.
        root: folder of the encoder; the code goes there.
        folder: of the module, below it.
        include_prompt: whether prompts are pooled too.
        bos, prompts: tokens that are not pooled, see `attention_pooling.AttentionPooling`.
    """
    place = root / folder
    place.mkdir()
    left_out = {"include_prompt": include_prompt, "bos": bos, "prompts": [list(ids) for ids in prompts]}
    stored = {"width": pooling.dimension, **pooling.settings, **left_out}
    (place / "config.json").write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
    tensors = {name: value.detach().float().cpu().contiguous() for name, value in pooling.state_dict().items()}
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(CODE, root / CODE.name)


def read(place: Path, *, width: int, device: torch.device) -> tuple[nn.Module, bool]:
    """The pooling of a module folder, and whether prompts are pooled too.

    Args:
        place: the module's folder.
        width: of the backbone's states.
        device: where the weights go.

    Raises:
        InputError: damaged files, or sizes that do not fit the backbone or each other.
    """
    file = place / "config.json"
    stored = parse(_Stored, read_object(file), where=str(file))
    tensors = read_tensors(place / "model.safetensors")
    if stored.width != width:
        raise InputError(
            f"{file}: width {stored.width}, and the model's states have {width}; the pooling belongs to another model"
        )
    latent: dict[str, Any] = {"latents": stored.latents, "form": stored.form} if stored.mode == "latent_attention" else {}
    config = PoolingConfig(mode=stored.mode, heads=stored.heads, head_width=stored.head_width, **latent)
    with torch.device("meta"):
        module = config.build(width)
    expected = {name: value.shape for name, value in module.state_dict().items()}
    if {name: value.shape for name, value in tensors.items()} != expected:
        raise InputError(f"{place / 'model.safetensors'}: tensors do not fit the sizes in config.json; the folder is damaged")
    module.load_state_dict({name: value.float().to(device) for name, value in tensors.items()}, assign=True)
    return module, stored.include_prompt
