"""The doctor's last check: the vectors of the folder as it lies on disk, loaded afresh by plain transformers.

Everything else that the doctor compares with runs on the model in memory, so it cannot see what loading changed. This check reads
the folder again, in transformers' own attention and with nothing of ours around it, and takes texts of which one is longer than the
smallest sliding window.

Letters: T tokens of a packed row, N texts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from bothways.attention.stock import quiet
from bothways.attention.text_config import windowed_layers
from bothways.encoder.batch import TokenRow
from bothways.encoder.proof.check import Check
from bothways.encoder.proof.comparison import ROUNDED, allowance, alone_states, compare

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

LONGEST = 2048
"""Tokens of the longest text that is tried: a window of 4,096 would take minutes on a CPU."""


def on_disk(encoder: Encoder, name: str, quick: bool) -> Check:
    """The folder on disk, loaded by plain transformers, gives our vectors, on a text longer than its smallest window too."""
    from bothways.encoder.proof.checks import TEXTS

    if encoder.folder is None:
        return Check(name, True, "–", "the encoder was not loaded from a folder: save it, and ask again for the folder")
    need, free = _bytes(encoder), _available(encoder)
    if free is not None and need > free:
        figure = f"{need / 2**30:.1f} GiB"
        return Check(name, True, "–", f"not compared: a second copy of the model takes {figure}, more than is free here")
    plain = _plain(encoder)
    if _differ(encoder.backbone, plain):
        return Check(name, True, "–", "not compared: the weights are no longer those of the folder; save it, and ask again")
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
            sentence += f", on a text of {length:,} tokens too (the smallest window is {smallest:,})"
    elif windows:
        sentence += f"; no text longer than its window of {smallest:,} tokens was tried: that takes too long here"
    batch = encoder.pack(rows).to(encoder.device)
    with quiet(encoder.backbone), quiet(plain):
        ours = encoder(batch)
        off = compare(encoder, encoder.pool(alone_states(plain, batch, encoder.reads), batch), ours)
        allowed = allowance(encoder, batch)
    if off.exceeds(ROUNDED) and not off.value <= allowed:
        return Check(name, False, off.figure, "the folder on disk, loaded by plain transformers, gives other vectors")
    return Check(name, True, off.figure, sentence)


def _plain(encoder: Encoder) -> Any:
    """The backbone as a plain loader reads it."""
    from transformers import AutoModel

    from bothways.backbone.checkpoints import quiet as hushed

    with hushed():
        model = AutoModel.from_pretrained(str(encoder.folder), dtype=encoder.dtype, local_files_only=True)
    return model.to(encoder.device).eval()


def _differ(one: nn.Module, other: nn.Module) -> bool:
    """Whether a weight that both have differs: training or an adapter has changed one of them."""
    weights = dict(other.named_parameters())
    return any(name in weights and not torch.equal(value, weights[name]) for name, value in one.named_parameters())


def _long(encoder: Encoder, texts: tuple[str, ...], length: int) -> TokenRow:
    """A row of `length` tokens, or as many as the backbone has positions for."""
    from bothways.encoder.convert import usable_positions

    limit = min(length, usable_positions(encoder.backbone) or length)
    text = " ".join(texts)
    once = max(1, len(encoder.tokenize([text], max_length=LONGEST)[0].ids))
    return encoder.tokenize([" ".join([text] * (limit // once + 2))], max_length=limit)[0]


def _bytes(encoder: Encoder) -> int:
    """What a second copy of the backbone takes, with a tenth for the pass."""
    return int(1.1 * sum(value.numel() * value.element_size() for value in encoder.backbone.state_dict().values()))


def _available(encoder: Encoder) -> int | None:
    """Free bytes where the model lies; None where nobody says."""
    if encoder.device.type == "cuda":
        return int(torch.cuda.mem_get_info(encoder.device)[0])
    meminfo = Path("/proc/meminfo")
    if encoder.device.type != "cpu" or not meminfo.is_file():
        return None
    lines = (line.split() for line in meminfo.read_text().splitlines())
    return next((int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:"), None)
