"""S²-Attn against full attention by length of the text: time and peak memory of attention alone and
of a whole training step.

Run: .venv/bin/python benchmarks/long.py --lengths 1024 2048 4096 8192 16384 --model smollm2-135m

One text per pass. "attention" is one layer's attention forward and backward; "step" is LongLoRA's:
LoRA on attention with trainable embeddings and norms, gradient checkpointing, next-token loss,
AdamW. Weights are random, since they change no time. Every figure is taken in a process of its own,
so that a peak is that figure's and a length that does not fit costs its own row only. "work" is the
arithmetic: pairs of tokens scored, as a share of full causal attention. CUDA where there is one,
else this CPU.

Cost: with --repeats 1 about half an hour on two slow CPU cores (Zen 4), a third of it for the step
with full attention at 16,384 tokens.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import nn
from transformers import AutoModel, LlamaConfig

from bothways.attention import kernel
from bothways.attention.interface import NAME
from bothways.attention.plan import AttentionPlan
from bothways.attention.run import hidden_states
from bothways.attention.shifted import ShiftedGroups
from bothways.backbone.adapter.lora import attach
from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.backbone.hardware import auto_device, resolve_dtype
from bothways.losses.masked_next_token import masked_next_token
from bothways.training.loop.precision import autocast, choose

MODELS = {
    "small": dict(
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        vocab_size=4096,
    ),
    "smollm2-135m": dict(
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
    ),
    "llama-3.2-1b": dict(
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=128256,
    ),
}
WARM = 8192
"""Tokens beyond which a CPU's figures are of one first run: it takes minutes, and what a first run
costs more is seconds.
"""
PATTERNS = {"full": None, "s2": ShiftedGroups()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048, 4096, 8192, 16384], help="tokens of the text")
    parser.add_argument("--model", choices=MODELS, default="smollm2-135m", help="shape of the model")
    parser.add_argument("--dtype", default="auto", help="auto, float32 or bfloat16")
    parser.add_argument(
        "--repeats",
        type=int,
        default=3,
        help="timed runs after one that is not; the median counts (one, and none before it, beyond 8,192 tokens on a CPU)",
    )
    parser.add_argument("--cell", nargs=3, metavar=("WHAT", "PATTERN", "LENGTH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        what, pattern, length = options.cell
        print(json.dumps(measure(what, pattern, int(length), options.model, options.dtype, options.repeats)))
    else:
        table(options)


def table(options: argparse.Namespace) -> None:
    heads = MODELS[options.model]["num_attention_heads"]
    device = auto_device()
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{options.model}, {resolve_dtype(options.dtype, device)}, {where}, torch {torch.__version__}")
    print("| tokens | work | what | full s | S² s | share | full MB | S² MB |\n|---:|---:|---|---:|---:|---:|---:|---:|")
    for length in options.lengths:
        plans = {name: AttentionPlan((length,), "causal", groups) for name, groups in PATTERNS.items()}
        work = plans["s2"].scores(heads) / plans["full"].scores(heads)
        for what in ("attention", "step"):
            full, s2 = (cell(what, pattern, length, options) for pattern in PATTERNS)
            print(f"| {length} | {work:.3f} | {what} | {figures(full, s2)} |", flush=True)


def figures(full: dict[str, float], s2: dict[str, float]) -> str:
    """Five cells of a row: seconds of both, their ratio, megabytes of both; a dash for what was not
    measured.
    """
    # of times that do not exist the ratio is neither 0 nor a number
    share = s2["seconds"] / full["seconds"] if math.isfinite(full["seconds"]) else math.inf
    seconds = [f"{value:.3f}" if math.isfinite(value) else "–" for value in (full["seconds"], s2["seconds"], share)]
    megabytes = [f"{value:.0f}" if math.isfinite(value) else "–" for value in (full["megabytes"], s2["megabytes"])]
    return " | ".join([*seconds, *megabytes])


def cell(what: str, pattern: str, length: int, options: argparse.Namespace) -> dict[str, float]:
    """One figure from a process of its own; infinite where it does not fit."""
    rest = ["--model", options.model, "--dtype", options.dtype, "--repeats", str(options.repeats)]
    command = [sys.executable, __file__, "--cell", what, pattern, str(length), *rest]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    # the kernel kills a process for memory with SIGKILL; CUDA and the allocator of a CPU raise
    if done.returncode != -9 and "memory" not in done.stderr:
        raise SystemExit(done.stderr)
    return {"seconds": math.inf, "megabytes": math.inf}


def measure(what: str, pattern: str, length: int, model: str, dtype: str, repeats: int) -> dict[str, float]:
    """Median seconds, and the peak of memory above what was held before the first run."""
    device = auto_device()
    torch.manual_seed(0)
    plan = AttentionPlan((length,), "causal", PATTERNS[pattern])
    run = (attention if what == "attention" else step)(plan, LlamaConfig(**MODELS[model]), dtype, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()  # the peak so far is that of making the model
    before = held(device)
    times = []
    if device.type == "cpu" and length > WARM:
        repeats = 1
    else:
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()  # else the first timed run waits for this one
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return {"seconds": statistics.median(times), "megabytes": (peak(device) - before) / 1e6}


def held(device: torch.device) -> float:
    return torch.cuda.memory_allocated() if device.type == "cuda" else peak(device)


def peak(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used * (1 if sys.platform == "darwin" else 1024)


def attention(plan: AttentionPlan, config: LlamaConfig, dtype: str, device: torch.device) -> Callable[[], None]:
    heads, keys = config.num_attention_heads, config.num_key_value_heads
    width, kind = config.hidden_size // heads, resolve_dtype(dtype, device)
    q, k, v = (torch.randn(plan.total, n, width, device=device, dtype=kind, requires_grad=True) for n in (heads, keys, keys))
    gradient = torch.ones(plan.total, heads, width, device=device, dtype=kind)

    def run() -> None:
        kernel.execute(q, k, v, plan).backward(gradient)

    return run


def step(plan: AttentionPlan, config: LlamaConfig, dtype: str, device: torch.device) -> Callable[[], None]:
    precision = choose(dtype, device, adapter=True)
    config.max_position_embeddings = max(plan.total, 2048)
    model = AutoModel.from_config(config, dtype=precision.weights, attn_implementation=NAME).to(device).train()
    model.requires_grad_(False)
    attach(model, LoraConfig(r=8, alpha=16, dropout=0.0, targets=("q_proj", "k_proj", "v_proj", "o_proj")))
    for name, weight in model.named_parameters():
        if "embed" in name or "norm" in name:
            weight.data = weight.data.float()
            weight.requires_grad_(True)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    head = nn.Linear(config.hidden_size, config.vocab_size, bias=False, device=device, dtype=precision.weights)
    head.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-5, weight_decay=0.0)
    ids = torch.randint(config.vocab_size, (plan.total,), device=device)

    def run() -> None:
        with autocast(model, precision):
            states = hidden_states(model, ids, plan)[:-1].to(precision.weights)
            (masked_next_token(states, ids[1:], head).total / len(states)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


if __name__ == "__main__":
    main()
