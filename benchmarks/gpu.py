"""Plans on a CUDA device: kernel against dense reference, then encoding speed of a real
configuration with random weights.

Run it on a machine with a GPU:

    .venv/bin/python benchmarks/gpu.py

First it checks the varlen and fused kernels, forward and backward, against float64 on the same
plan: the error is at most 1.25 times that of plain bfloat16 attention. Then it measures tokens per
second for the shapes of SmolLM2-135M and Llama-3.2-1B.
"""

from __future__ import annotations

import time

import torch
from transformers import LlamaConfig, LlamaModel

from bothways.attention import kernel
from bothways.attention.direction import set_direction
from bothways.attention.interface import NAME
from bothways.attention.plan import AttentionPlan
from bothways.attention.run import hidden_states

SHAPES = {
    "SmolLM2-135M": dict(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3
    ),
    "Llama-3.2-1B": dict(
        hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8
    ),
}


def check_kernels() -> None:
    torch.manual_seed(0)
    for direction in ("bidirectional", "causal"):
        for window in (None, 16):
            plan = AttentionPlan((130, 77, 77, 5, 300), direction)  # type: ignore[arg-type]
            q, k, v = (torch.randn(plan.total, heads, 64, device="cuda", dtype=torch.float64) for heads in (8, 2, 2))
            mask = plan.dense("cuda", window)
            exact = reference(q, k, v, mask)
            half = [t.bfloat16() for t in (q, k, v)]
            plain = relative(reference(*half, mask), exact)
            errors = {"execute": relative(kernel.execute(*half, plan, window=window), exact)}
            cuts = (kernel._cut(run, *half) for run in plan.runs)
            errors["fused"] = relative(torch.cat([kernel._fused(c, plan.direction, 0.125, 0.0, window) for c in cuts]), exact)
            if kernel._HAS_VARLEN:
                errors["varlen"] = relative(kernel._varlen(*half, plan, 0.125, window), exact)
            verdict = {name: f"{error / plain:.2f} x plain" for name, error in errors.items()}
            print(direction, "window", window, verdict)
            assert all(error <= 1.25 * plain for error in errors.values()), verdict


def reference(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    groups = q.shape[1] // k.shape[1]
    scores = torch.einsum("qhd,khd->hqk", q, k.repeat_interleave(groups, 1)) * q.shape[-1] ** -0.5
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~mask, -torch.inf).softmax(-1), v.repeat_interleave(groups, 1))


def relative(value: torch.Tensor, exact: torch.Tensor) -> float:
    return float((value.double() - exact).norm() / exact.norm())


def speed(name: str, texts: int = 512, length: int = 128) -> None:
    config = LlamaConfig(vocab_size=49152, max_position_embeddings=8192, **SHAPES[name])
    model = LlamaModel(config).to("cuda", torch.bfloat16).eval()
    set_direction(model, "bidirectional")
    model.set_attn_implementation(NAME)
    generator = torch.Generator().manual_seed(0)
    lengths = (torch.randn(texts, generator=generator) * length * 0.3 + length).clamp(4, 512).int().sort(descending=True).values
    plan = AttentionPlan(tuple(lengths.tolist()))
    ids = torch.randint(0, 49152, (plan.total,), device="cuda")
    with torch.inference_mode():
        for _ in range(3):
            hidden_states(model, ids, plan)
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(10):
            hidden_states(model, ids, plan)
        torch.cuda.synchronize()
    rate = plan.total * 10 / (time.perf_counter() - start)
    print(f"{name}: {rate:,.0f} tokens/s, {texts} texts of about {length} tokens in one pass of {plan.total:,}")


if __name__ == "__main__":
    check_kernels()
    for shape in SHAPES:
        speed(shape)
