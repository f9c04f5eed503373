"""The doctor's checks of files: vectors of the folder on disk, loaded again by plain transformers.

All other checks run on the model in memory, so they cannot see errors of loading. This check reads
the folder again, with transformers' own attention and nothing of bothways around it. One of its
texts is longer than the smallest sliding window.

Letters: T tokens of a packed row, N texts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from bothways.attention.stock import evaluation_mode
from bothways.attention.text_config import windowed_layers
from bothways.backbone.loading import embedded
from bothways.encoder.batch import TokenRow
from bothways.encoder.int8.choice import LEAST
from bothways.encoder.module import EncoderModule
from bothways.encoder.proof.check import Check
from bothways.encoder.proof.samples import TEXTS
from bothways.encoder.proof.vector_comparison import (
    ROUNDED,
    allowance,
    alone_states,
    compare_vectors,
)

LONGEST = 2048
"""Tokens of the longest text in the check. A window of 4,096 would take minutes on a CPU."""


def on_disk(encoder: EncoderModule, name: str, quick: bool) -> Check:
    """Check that the folder on disk gives our vectors through plain transformers.

    One of the texts is longer than the smallest sliding window, unless that takes too long.
    """
    if encoder.folder is None:
        return Check(
            name,
            True,
            "–",
            "the encoder was not loaded from a folder; save it and check the folder",
        )
    need, free = _bytes(encoder), _available(encoder)
    if free is not None and need > free:
        figure = f"{need / 2**30:.1f} GiB"
        return Check(
            name,
            True,
            "–",
            f"not compared: a second copy of the model takes {figure}, more than is free here",
        )
    plain = _plain(encoder)
    if _differ(encoder.backbone, plain):
        return Check(
            name,
            True,
            "–",
            "not compared: the weights differ from those in the folder; save the encoder and run the check again",
        )
    windows = windowed_layers(plain.config.get_text_config())
    rows = [encoder.tokenize([text])[0] for text in TEXTS[:3]]
    smallest = min(windows.values(), default=0)
    sentence = "the folder on disk gives the same vectors through plain transformers"
    if windows and smallest < LONGEST:
        rows.append(_long(encoder, TEXTS, min(2 * smallest + 8, LONGEST)))
        length = len(rows[-1].ids)
        if length <= smallest:
            sentence += f", on texts inside its window of {smallest:,} tokens: it has positions for {length:,}"
        else:
            sentence += (
                f", on a text of {length:,} tokens too (the smallest window is {smallest:,})"
            )
    elif windows:
        sentence += f"; no text longer than its window of {smallest:,} tokens was tried: that takes too long here"
    batch = encoder.pack(rows).to(encoder.device)
    with evaluation_mode(encoder.backbone), evaluation_mode(plain):
        ours = encoder(batch)
        off = compare_vectors(
            encoder, encoder.pool(alone_states(plain, batch, encoder.reads), batch), ours
        )
        # int8 differs from its folder, which is in float32, by as much as its own check allows
        allowed = 1 - LEAST if encoder.quantized is not None else allowance(encoder, batch)
    if off.exceeds(ROUNDED) and not off.value <= allowed:
        return Check(
            name,
            False,
            off.figure,
            "the folder on disk, loaded by plain transformers, gives other vectors",
        )
    return Check(name, True, off.figure, sentence)


def embedded_cache(encoder: EncoderModule, name: str, quick: bool) -> Check:
    """Check that the cached copy of the embedded model has the bytes that its conversion wrote.

    It matters for an encoder whose base is the embedded model, whether it was converted from it or
    trained on it.
    """
    base = embedded_base(encoder)
    if base is None:
        return Check(name, True, "–", "the base is not the embedded model")
    wrong = embedded.damaged(base)
    if wrong:
        folder = embedded.folder_of(base)
        sentence = f"{', '.join(path.name for path in wrong)} in {folder} differ from what was converted; remove this folder, and the next"
        return Check(name, False, f"{len(wrong)} files", f"{sentence} load makes it again")
    return Check(
        name, True, "sha256", f"the cached copy of {base} has the bytes that its conversion wrote"
    )


def embedded_base(encoder: EncoderModule) -> str | None:
    """Give the embedded name of an encoder's base, if it has one and its copy is cached here."""
    named = str(encoder.provenance.get("base", "")).lower()
    found = [
        name
        for name in embedded.names()
        if name == named or encoder.folder == embedded.folder_of(name)
    ]
    return next((name for name in found if embedded.folder_of(name).is_dir()), None)


def _plain(encoder: EncoderModule) -> Any:
    """Load the backbone as a plain loader does."""
    from transformers import AutoModel

    from bothways.backbone.loading.checkpoint_loading import silenced as hushed

    with hushed():
        model = AutoModel.from_pretrained(
            str(encoder.folder), dtype=encoder.dtype, local_files_only=True
        )
    return model.to(encoder.device).eval()


def _differ(one: nn.Module, other: nn.Module) -> bool:
    """Return whether a weight differs that both have, because of training or an adapter."""
    weights = dict(other.named_parameters())
    return any(
        name in weights and not torch.equal(value, weights[name])
        for name, value in one.named_parameters()
    )


def _long(encoder: EncoderModule, texts: tuple[str, ...], length: int) -> TokenRow:
    """Make a row of `length` tokens, or of as many as the backbone has positions for."""
    from bothways.attention.positions import usable_positions

    limit = min(length, usable_positions(encoder.backbone) or length)
    text = " ".join(texts)
    once = max(1, len(encoder.tokenize([text], max_length=LONGEST)[0].ids))
    return encoder.tokenize([" ".join([text] * (limit // once + 2))], max_length=limit)[0]


def _bytes(encoder: EncoderModule) -> int:
    """Return the bytes of a second copy of the backbone, plus a tenth for the pass."""
    return int(
        1.1
        * sum(
            value.numel() * value.element_size() for value in encoder.backbone.state_dict().values()
        )
    )


def _available(encoder: EncoderModule) -> int | None:
    """Return the free bytes on the model's device, or None if unknown."""
    if encoder.device.type == "cuda":
        return int(torch.cuda.mem_get_info(encoder.device)[0])
    meminfo = Path("/proc/meminfo")
    if encoder.device.type != "cpu" or not meminfo.is_file():
        return None
    lines = (line.split() for line in meminfo.read_text().splitlines())
    return next((int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:"), None)
