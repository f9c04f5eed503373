"""Cost of LLaRA's losses: the vocabulary at sixteen positions and in chunks, against logits of
every token at once.

Run: .venv/bin/python benchmarks/llara_cost.py [--rows 8] [--length 128] [--base smollm2-135m]
[--repeats 3] [--out runs/llara-cost.json]

The naive form is the released code's: logits (T, V) in float32 for all T tokens, their log-softmax
at the special positions, and cross-entropy over the text's. Both are given the same states; time is
the best of the repeats, memory what torch allocates beyond the states (its own peak on a GPU, the
sum of live tensors seen by a dispatch hook on a CPU).
"""

from __future__ import annotations

import argparse
import json
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bothways.atomic import atomic_file
from bothways.losses.bag_of_words import bag_of_words
from bothways.losses.masked_next_token import masked_next_token

READ = 8


class Peak(TorchDispatchMode):
    """Bytes of all storages alive at once, of those made inside the block."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._hold(tensor.untyped_storage())
        return result

    def _hold(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.seen:
            self.seen.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


def material(rows: int, length: int, hidden: int, vocabulary: int, device: torch.device) -> dict[str, Any]:
    """States (T, H), labels of every text token, and a bag of 40 words for each of 2 · rows
    embeddings.
    """
    generator = torch.Generator().manual_seed(0)
    total = rows * length
    starts = torch.arange(rows) * length
    places = (starts[:, None] + torch.arange(length - 40)).flatten()
    ends = torch.cat([starts + length - 18, starts + length])
    bags = [torch.randperm(vocabulary, generator=generator)[:40] for _ in range(2 * rows)]
    made = {
        "states": torch.randn(total, hidden, generator=generator),
        "places": places,
        "targets": torch.randint(vocabulary, (len(places),), generator=generator),
        "read": ends[:, None] + torch.arange(-READ, 0),
        "words": torch.cat(bags),
    }
    return {**{key: value.to(device) for key, value in made.items()}, "sizes": [40] * 2 * rows}


def ours(states: Tensor, head: nn.Module, m: dict[str, Any]) -> Tensor:
    """As `objectives.llara` computes it."""
    text = masked_next_token(states[m["places"]], m["targets"], head)
    return text.total + bag_of_words(states[m["read"]], m["words"], m["sizes"], head).sum()


def naive(states: Tensor, head: nn.Module, m: dict[str, Any]) -> Tensor:
    """As the released code computes it."""
    logits = head(states).float()
    text = F.cross_entropy(logits[m["places"]], m["targets"], reduction="sum")
    possible = logits[m["read"]].amax(1).log_softmax(-1)
    bag = torch.repeat_interleave(
        torch.arange(len(m["sizes"]), device=states.device), torch.tensor(m["sizes"], device=states.device)
    )
    picked = possible[bag, m["words"]]
    return text - possible.new_zeros(len(m["sizes"])).index_add(0, bag, picked).sum() / m["sizes"][0]


def measure(form: Callable[..., Tensor], head: nn.Module, m: dict[str, Any], repeats: int) -> dict[str, float]:
    """Best seconds and peak bytes of a forward and backward pass, and the loss."""
    cuda = m["states"].is_cuda
    seconds, value = [], 0.0
    for _ in range(repeats):
        states = m["states"].clone().requires_grad_()
        begin = time.perf_counter()
        loss = form(states, head, m)
        loss.backward()
        value = float(loss.detach())
        seconds.append(time.perf_counter() - begin)
    states = m["states"].clone().requires_grad_()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        form(states, head, m).backward()
        peak = torch.cuda.max_memory_allocated() - before
    else:
        with Peak() as watched:
            form(states, head, m).backward()
        peak = watched.peak
    return {"seconds": min(seconds), "bytes": peak, "loss": value}


def compare(head: nn.Module, m: dict[str, Any], repeats: int = 3) -> dict[str, dict[str, float]]:
    """Both forms on the same states."""
    return {name: measure(form, head, m, repeats) for name, form in (("naive", naive), ("ours", ours))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    from bothways.backbone.loading.sources import load_pretrained

    loaded = load_pretrained(options.base, dtype="float32", device="auto", head=True)
    assert loaded.head is not None
    head = loaded.head.requires_grad_(False)
    config = loaded.model.config
    made = material(options.rows, options.length, config.hidden_size, config.vocab_size, next(head.parameters()).device)
    found = compare(head, made, options.repeats)
    print(f"{options.rows} rows of {options.length} tokens, vocabulary {config.vocab_size:,}")
    for name, values in found.items():
        print(f"{name:6} {values['seconds']:8.3f} s  {values['bytes'] / 2**20:9.1f} MiB  loss {values['loss']:.4f}")
    if options.out is not None:
        with atomic_file(options.out) as part:
            part.write_text(json.dumps({**vars(options), "out": str(options.out), "forms": found}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
