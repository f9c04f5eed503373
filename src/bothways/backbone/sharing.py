"""Keeps equal weights of several encoders once, for example those of one base under two adapters.

An adapter is merged when its encoder is loaded, so the layers that it changes differ. All others,
such as the embedding, are the same numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch

_SAMPLE = 64


def share_weights(encoders: Iterable[torch.nn.Module]) -> int:
    """Let equal parameters and buffers of encoders use one memory. Nobody may train them.

    Args:
        encoders: the encoders. The first one that has a tensor keeps it.

    Returns:
        The number of bytes that are no longer needed.
    """
    kept: dict[str, list[torch.Tensor]] = {}
    places = set()
    saved = 0
    for encoder in encoders:
        for tensor in (*encoder.parameters(), *encoder.buffers()):
            if tensor.numel() == 0 or tensor.data_ptr() in places:
                continue
            same = kept.setdefault(_key(tensor), [])
            found = next((each for each in same if torch.equal(each, tensor)), None)
            if found is None:
                same.append(tensor)
                places.add(tensor.data_ptr())
            else:
                saved += tensor.numel() * tensor.element_size()
                tensor.data = found.data
    return saved


def _key(tensor: torch.Tensor) -> str:
    """Return what equal tensors have in common: kind, place, layout and a few numbers."""
    flat = tensor.detach().reshape(-1)
    # whole numbers, because float32 rounds places beyond 2^24 to ones that do not exist
    count = min(_SAMPLE, len(flat))
    places = torch.arange(count, device=flat.device) * (len(flat) - 1) // max(1, count - 1)
    numbers = flat[places].to(torch.float64).cpu().numpy().tobytes()
    kind = f"{tensor.dtype} {tensor.device} {tuple(tensor.shape)} {tensor.stride()}"
    return f"{kind} {hashlib.sha256(numbers).hexdigest()}"
