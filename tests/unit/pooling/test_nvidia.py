"""Weights under NVIDIA's names give what NVIDIA's structure computes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bothways.errors import InputError
from bothways.pooling.nvidia import PREFIX, from_nvidia

WIDTH, LATENTS, HEADS, SIZE = 6, 5, 2, 4
BLOCK = f"{PREFIX}cross_attend_blocks."


def published(seed: int = 0) -> dict[str, Tensor]:
    """A checkpoint as nvidia/NV-Embed-v1 has it, in small: names and shapes, random numbers."""
    generator = torch.Generator().manual_seed(seed)
    inner = HEADS * SIZE
    shapes: dict[str, tuple[int, ...]] = {
        f"{PREFIX}latents": (LATENTS, WIDTH),
        f"{BLOCK}0.fn.to_q.weight": (inner, WIDTH),
        f"{BLOCK}0.fn.to_kv.weight": (2 * inner, WIDTH),
        f"{BLOCK}0.fn.to_out.weight": (WIDTH, inner),
        f"{BLOCK}1.fn.net.0.weight": (8 * WIDTH, WIDTH),
        f"{BLOCK}1.fn.net.0.bias": (8 * WIDTH,),
        f"{BLOCK}1.fn.net.2.weight": (WIDTH, 4 * WIDTH),
        f"{BLOCK}1.fn.net.2.bias": (WIDTH,),
        **{f"{BLOCK}{norm}.{kind}": (WIDTH,) for norm in ("0.norm", "0.norm_context", "1.norm") for kind in ("weight", "bias")},
        "embedding_model.norm.weight": (WIDTH,),
    }
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def computed(w: dict[str, Tensor], hidden: Tensor, mask: Tensor) -> Tensor:
    """The published forward pass on a padded batch (B, L, H) with a pool mask (B, L), by its names,
    in float64.
    """
    w = {name: value.double() for name, value in w.items()}

    def normed(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (WIDTH,), w[f"{BLOCK}{name}.weight"], w[f"{BLOCK}{name}.bias"])

    query = normed(hidden, "0.norm") @ w[f"{BLOCK}0.fn.to_q.weight"].T
    key, value = (normed(w[f"{PREFIX}latents"], "0.norm_context") @ w[f"{BLOCK}0.fn.to_kv.weight"].T).chunk(2, -1)
    heads = []
    for head in range(HEADS):
        own = slice(head * SIZE, (head + 1) * SIZE)
        heads.append((query[..., own] @ key[:, own].T / SIZE**0.5).softmax(-1) @ value[:, own])
    x = torch.cat(heads, -1) @ w[f"{BLOCK}0.fn.to_out.weight"].T + hidden
    inner = normed(x, "1.norm") @ w[f"{BLOCK}1.fn.net.0.weight"].T + w[f"{BLOCK}1.fn.net.0.bias"]
    a, gate = inner.chunk(2, -1)
    x = (a * F.gelu(gate)) @ w[f"{BLOCK}1.fn.net.2.weight"].T + w[f"{BLOCK}1.fn.net.2.bias"] + x
    return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


@pytest.mark.parametrize("prefixed", [True, False])
def test_published_weights_compute_what_they_did(prefixed: bool) -> None:
    tensors = published()
    lengths = (4, 1, 6)
    hidden = torch.randn(3, 6, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mask = (torch.arange(6)[None] < torch.tensor(lengths)[:, None]).double()
    pool = mask.clone()
    pool[0, :2] = 0  # an instruction
    given = tensors if prefixed else {name.removeprefix(PREFIX): value for name, value in tensors.items()}
    module = from_nvidia(given, heads=HEADS)
    real = mask.bool()
    found = module(hidden[real].float(), pool[real].bool(), torch.repeat_interleave(torch.arange(3), torch.tensor(lengths)), 3)
    torch.testing.assert_close(found.double(), computed(tensors, hidden, pool), atol=1e-4, rtol=1e-5)
    exact = module.double()(hidden[real], pool[real].bool(), torch.repeat_interleave(torch.arange(3), torch.tensor(lengths)), 3)
    torch.testing.assert_close(exact, computed(tensors, hidden, pool), atol=1e-11, rtol=1e-11)
    assert module.settings == {"mode": "latent_attention", "latents": 5, "heads": 2, "head_width": 4, "form": "code"}
    assert all(parameter.requires_grad and not parameter.is_meta for parameter in module.parameters())


def test_half_precision_checkpoints_become_float32() -> None:
    module = from_nvidia({name: value.bfloat16() for name, value in published().items()}, heads=HEADS)
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


def test_what_does_not_fit_is_named() -> None:
    tensors = published()
    without = {name: value for name, value in tensors.items() if not name.endswith("to_q.weight")}
    with pytest.raises(
        InputError, match=r"lacks cross_attend_blocks.0.fn.to_q.weight; expected the names of nvidia/NV-Embed-v1"
    ):
        from_nvidia(without, heads=HEADS)
    with pytest.raises(InputError, match=r"holds cross_attend_blocks.2.norm.weight, which this pooling does not have"):
        from_nvidia({**tensors, f"{BLOCK}2.norm.weight": torch.ones(WIDTH)}, heads=HEADS)
    with pytest.raises(InputError, match="8 query rows are not a multiple of 3 heads"):
        from_nvidia(tensors, heads=3)
    with pytest.raises(InputError, match=r"fn.to_kv.weight: shape \(8, 6\), expected \(16, 6\) for width 6, 5 latents"):
        from_nvidia({**tensors, f"{BLOCK}0.fn.to_kv.weight": torch.ones(8, WIDTH)}, heads=HEADS)
