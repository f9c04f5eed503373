"""All figures of one GPU in one command of under eight minutes, as a JSON file and as lines.

    .venv/bin/python benchmarks/gpu.py --out runs/gpu.json
    .venv/bin/python benchmarks/gpu.py --small --device cpu        the same code at small size, in seconds

| section | figure |
|---|---|
| kernels | error of the varlen and fused kernels against float64, at most 1.25 times that of plain bfloat16 attention |
| rate | bfloat16 products of a 7B model's own shapes, the limit |
| mntp | LoRA at the shape of a 7B model, rows of 512 tokens: share of the limit, and hours of LLM2Vec's 1,000 × 32 rows (A100: 1.5) |
| simcse | the same for 1,000 × 128 texts in two views with dropout 0.3 (A100: 2.5 hours) |
| encode | tokens a second of bothways and sentence-transformers (flash-attention if installed, else SDPA), in turns |
| attention | one layer forward and backward, varlen against flex, from 512 to 8,192 tokens |
| full | forward and backward of a 125M model at 8,192 tokens, all weights trained (published with flex on an H200: 290k tokens/s) |

Weights are random, because they do not change a time. Each figure is tried by itself. One that fails, needs more memory or time
than there is, or whose library is not installed, has its reason in the table, and the others are still taken. The JSON file is
written after each figure. BUDGETS has the seconds of each section, models and compilation included.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, LlamaConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[0]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # so that a checkout is enough

from gpu_record import OutOfTime, Record, table

import bothways as bw
from bothways.attention import kernel
from bothways.attention.interface import NAME
from bothways.attention.plan import AttentionPlan
from bothways.attention.run import hidden_states
from bothways.backbone.adapter.lora import attach
from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.backbone.hardware import auto_dtype
from bothways.bench.limit import operations, shapes
from bothways.data.text.readers import read_texts
from bothways.losses.infonce import info_nce
from bothways.losses.masked_next_token import masked_next_token
from bothways.training.loop.precision import autocast, choose
from tiny import tiny_llama

SHAPES: dict[str, dict[str, int]] = {
    "small": dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2),
    "135m": dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3),
    "7b": dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8),
}
VOCABULARY = {"small": 512, "135m": 49152, "7b": 32000}
MASKED = 0.2  # of MNTP's tokens
SIMCSE_TOKENS = 32  # of a sentence of Wikipedia, about
PUBLISHED = {"steps": 1000, "rows": 32, "length": 512, "texts": 128}  # LLM2Vec, arXiv 2404.05961
FLEX_TOKENS = 290_000  # tokens a second forward and backward of a 125M model at 8,192 tokens, published with flex on an H200
BUDGETS = {"kernels": 20, "rate": 25, "mntp": 70, "simcse": 70, "encode": 75, "attention": 120, "full": 50}


class Sizes:
    """How large everything is: that of a GPU, or small."""

    def __init__(self, small: bool) -> None:
        self.large, self.little = ("small", "small") if small else ("7b", "135m")
        self.rows, self.length = (2, 32) if small else (8, 512)  # micro-batch of MNTP
        self.texts = 8 if small else 128
        self.product_rows = 64 if small else 16_384
        self.lengths = (32, 64) if small else (512, 1024, 2048, 4096, 8192)
        self.tokens = 128 if small else 32_768  # of a pass of `attention` and `full`
        self.encoded = 12 if small else 4000


class Bench(Record):
    """The sections."""

    def __init__(self, device: str, small: bool, seconds: float, out: Path | None = None) -> None:
        self.device = torch.device(device)
        self.sizes, self.seconds = Sizes(small), seconds
        # a CPU without instructions for bfloat16 takes forty times as long in it
        self.dtype = torch.bfloat16 if self.device.type == "cuda" else auto_dtype(self.device)
        name = torch.cuda.get_device_name() if self.device.type == "cuda" else "CPU"
        super().__init__({"device": name, "dtype": str(self.dtype), "torch": torch.__version__, "small": small}, out)

    def timed(self, call: Callable[[], object], share: float = 1.0) -> float:
        """Median seconds of a call, after two that do not count, within a share of the section's time."""
        for _ in range(2):
            call()
        self.wait()
        taken: list[float] = []
        begun = time.perf_counter()
        seconds = min(self.seconds, (self.end - time.monotonic()) / 2) * share  # half is left for preparing
        while len(taken) < 3 or (time.perf_counter() - begun < seconds and len(taken) < 30):
            start = time.perf_counter()
            call()
            self.wait()
            taken.append(time.perf_counter() - start)
        return statistics.median(taken)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def memory(self) -> float | None:
        return torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else None

    # --- sections ---------------------------------------------------------------------

    def kernels(self) -> None:
        torch.manual_seed(0)
        for direction in ("bidirectional", "causal"):
            for window in (None, 16):
                name = f"{direction}, window {window}"
                self.part("kernels", name, lambda d=direction, w=window: self.kernel_errors(d, w))
        errors = self.record.get("kernels")
        if errors:
            worst = max(errors, key=errors.get)
            errors["worst_of_plain_error"] = errors[worst]
            if not errors[worst] <= 1.25:
                raise ValueError(f"{worst}: {errors[worst]:.2f} times the error of plain attention, and 1.25 are allowed")

    def kernel_errors(self, direction: Any, window: int | None) -> dict[str, Any]:
        """Errors against float64, in units of the error of plain bfloat16 attention."""
        plan = AttentionPlan((130, 77, 77, 5, 300), direction)
        q, k, v = (torch.randn(plan.total, heads, 64, device=self.device, dtype=torch.float64) for heads in (8, 2, 2))
        mask = plan.dense(self.device, window)
        exact = reference(q, k, v, mask)
        half = [t.bfloat16() for t in (q, k, v)]
        plain = relative(reference(*half, mask), exact)
        cuts = (kernel._cut(run, *half) for run in plan.runs)
        values = {
            "execute": kernel.execute(*half, plan, window=window),
            "fused": torch.cat([kernel._fused(cut, plan.direction, 0.125, 0.0, window) for cut in cuts]),
        }
        if kernel._HAS_VARLEN and self.device.type == "cuda":
            values["varlen"] = kernel._varlen(*half, plan, 0.125, window)
        return {f"{name}, {direction}, window {window}": relative(value, exact) / plain for name, value in values.items()}

    def rate(self) -> dict[str, Any]:
        config = LlamaConfig(vocab_size=8, **SHAPES[self.sizes.large])
        with torch.device("meta"):
            found = shapes(AutoModel.from_config(config))
        rows, total = self.sizes.product_rows, 0.0
        for inputs, outputs, count in found:
            tokens = torch.randn(rows, inputs, device=self.device, dtype=self.dtype)
            weight = torch.randn(outputs, inputs, device=self.device, dtype=self.dtype)
            each = self.timed(lambda t=tokens, w=weight: nn.functional.linear(t, w), 0.5 / len(found))
            total += each * count
        return {"tflops": operations(found) * rows / total / 1e12, "rows": rows}

    def mntp(self) -> dict[str, Any]:
        whole = PUBLISHED["steps"] * PUBLISHED["rows"] * PUBLISHED["length"]

        def figures(rows: int) -> dict[str, Any]:
            found = self.trained(AttentionPlan((self.sizes.length,) * rows), dropout=0.0)
            return {**found, "hours_of_the_published_stage": whole / found["tokens_per_second"] / 3600}

        return self.halving(self.sizes.rows, figures)

    def simcse(self) -> dict[str, Any]:
        def figures(texts: int) -> dict[str, Any]:
            plan = AttentionPlan(tuple(draw_lengths(texts, SIMCSE_TOKENS, 128) * 2))
            found = self.trained(plan, dropout=0.3)
            seconds = plan.total / found["tokens_per_second"] * PUBLISHED["texts"] / texts
            return {**found, "hours_of_the_published_stage": PUBLISHED["steps"] * seconds / 3600}

        return self.halving(self.sizes.texts, figures)

    def trained(self, plan: AttentionPlan, dropout: float) -> dict[str, Any]:
        step, token_operations = self.lora_step(self.sizes.large, plan, dropout)
        seconds = self.timed(step)
        rate = token_operations * plan.total / seconds / 1e12
        return {"tokens_per_second": plan.total / seconds, "tflops": rate, "gib": self.memory()}

    def lora_step(self, shape: str, plan: AttentionPlan, dropout: float) -> tuple[Callable[[], None], float]:
        """A step of MNTP (without dropout) or SimCSE with LoRA, and its operations for one token.

        A frozen matrix takes part twice: forward, and backward for its input. Its own gradient is not computed. Of the head
        the masked positions alone take part.
        """
        precision = choose(str(self.dtype).removeprefix("torch."), self.device, adapter=True)
        vocabulary = VOCABULARY[shape]
        config = LlamaConfig(vocab_size=vocabulary, max_position_embeddings=8192, attention_dropout=dropout, **SHAPES[shape])
        with self.device:
            model = AutoModel.from_config(config, dtype=precision.weights, attn_implementation=NAME).train()
        model.requires_grad_(False)
        attach(model, LoraConfig(r=16, dropout=0.05))
        head = nn.Linear(config.hidden_size, vocabulary, bias=False, device=self.device, dtype=precision.weights)
        head.requires_grad_(False)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
        ids = torch.randint(5, vocabulary, (plan.total,), device=self.device)
        places = torch.arange(0, plan.total - 1, round(1 / MASKED), device=self.device)
        text = plan.segment_ids(self.device)
        sizes = torch.tensor(plan.lengths, device=self.device)[:, None]

        def step() -> None:
            with autocast(model, precision):
                states = hidden_states(model, ids, plan)
                if dropout:
                    sums = states.new_zeros(len(plan.lengths), states.shape[1], dtype=torch.float32)
                    first, second = (sums.index_add(0, text, states.float()) / sizes).chunk(2)
                    loss = info_nce(first, second, torch.arange(len(first), device=self.device))
                else:
                    loss = masked_next_token(states[places].to(precision.weights), ids[places + 1], head)
                (loss.total / loss.count).backward()
            optimizer.step()
            optimizer.zero_grad()

        base = [(i, o, n) for i, o, n in shapes(model) if 16 not in (i, o)]  # without the factors of LoRA
        scores = 4 * sum(length**2 for length in plan.lengths) * config.hidden_size * config.num_hidden_layers / plan.total
        operation = 2.0 * operations(base) + 3.0 * scores
        return step, operation if dropout else operation + 2.0 * 2 * config.hidden_size * vocabulary * MASKED

    def encode(self) -> dict[str, Any]:
        texts = read_texts("python-stdlib", limit=self.sizes.encoded)
        with tempfile.TemporaryDirectory() as folder:
            base = tiny_llama(
                f"{folder}/base", **SHAPES[self.sizes.little], max_position_embeddings=2048, initializer_range=0.02
            )
            bw.convert(base, device="cpu", dtype="float32").save(f"{folder}/encoder")
            ours = bw.load(f"{folder}/encoder", device=str(self.device), dtype=self.dtype)
            calls: dict[str, Callable[[], Any]] = {"bothways": lambda: ours.encode(texts, show_progress_bar=False)}
            for kind in ("flash_attention_2", "sdpa"):
                self.part(
                    "encode", f"sentence-transformers, {kind}", lambda k=kind: self.peer(f"{folder}/encoder", k, texts, calls)
                )
        tokens = sum(len(row.ids) for row in ours.tokenize(texts))
        taken: dict[str, list[float]] = {name: [] for name in calls}
        begun = time.monotonic()
        for number in range(6):
            for name, call in list(calls.items()):
                try:
                    start = time.perf_counter()
                    call()
                    self.wait()
                    if number:  # the first round warms up
                        taken[name].append(time.perf_counter() - start)
                except OutOfTime:
                    number = 6  # the rounds so far count
                    break
                except Exception as error:
                    self.fail("encode", name, error)
                    del calls[name]
            if number == 6 or (number and time.monotonic() - begun > self.seconds):
                break
        found = {name: tokens / statistics.median(seconds) for name, seconds in taken.items() if seconds}
        peers = [value for name, value in found.items() if name != "bothways"]
        return {**found, "times_best": found["bothways"] / max(peers)} if peers and "bothways" in found else found

    def peer(self, folder: str, attention: str, texts: list[str], calls: dict[str, Callable[[], Any]]) -> None:
        """Add the calls of sentence-transformers with one kind of attention."""
        from sentence_transformers import SentenceTransformer

        if attention == "flash_attention_2":
            if self.device.type != "cuda":
                return
            if importlib.util.find_spec("flash_attn") is None:
                raise ImportError("flash-attn is not installed")
        options = {"dtype": self.dtype, "attn_implementation": attention}
        model = SentenceTransformer(folder, device=str(self.device), model_kwargs=options)
        for size in (32, 128, 512):
            name = f"sentence-transformers, {attention}, batch {size}"
            calls[name] = lambda size=size: model.encode(texts, batch_size=size, show_progress_bar=False)

    def attention(self) -> None:
        for name in ("bothways", "flex"):  # flex compiles for long, so it comes last
            for length in self.sizes.lengths:
                self.part("attention", f"{name}, {length}", lambda n=name, size=length: self.one_layer(n, size))

    def one_layer(self, name: str, length: int) -> dict[str, Any]:
        trained = self.device.type == "cuda"  # flex has no backward pass on CPUs
        plan = AttentionPlan((length,) * max(1, self.sizes.tokens // length))
        q, k, v = (
            torch.randn(plan.total, heads, 64, device=self.device, dtype=self.dtype, requires_grad=trained)
            for heads in (9, 3, 3)
        )
        call = self.flex(q, k, v, plan) if name == "flex" else lambda: kernel.execute(q, k, v, plan)
        seconds = self.timed(lambda: self.both_ways(call, q), 0.5 / len(self.sizes.lengths))
        return {f"{name}, {length}": plan.total / seconds}

    def both_ways(self, call: Callable[[], torch.Tensor], q: torch.Tensor) -> None:
        out = call()
        if q.requires_grad:
            out.backward(torch.ones_like(q))

    def flex(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: AttentionPlan) -> Callable[[], torch.Tensor]:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        text = plan.segment_ids(self.device)

        def same(batch: Any, head: Any, query: Any, key: Any) -> Any:
            return text[query] == text[key]

        run = torch.compile(flex_attention) if self.device.type == "cuda" else flex_attention
        mask = create_block_mask(same, None, None, plan.total, plan.total, device=str(self.device))

        def call() -> torch.Tensor:
            packed = (t.transpose(0, 1)[None] for t in (q, k, v))
            out: torch.Tensor = run(*packed, block_mask=mask, enable_gqa=True)
            return out[0].transpose(0, 1)

        return call

    def full(self) -> dict[str, Any]:
        length = self.sizes.lengths[-1]
        return self.halving(max(1, self.sizes.tokens // length), lambda rows: self.all_weights(AttentionPlan((length,) * rows)))

    def all_weights(self, plan: AttentionPlan) -> dict[str, Any]:
        vocabulary = VOCABULARY[self.sizes.little]
        config = LlamaConfig(vocab_size=vocabulary, max_position_embeddings=plan.lengths[0], **SHAPES[self.sizes.little])
        with self.device:
            model = AutoModel.from_config(config, dtype=self.dtype, attn_implementation=NAME).train()
            head = nn.Linear(config.hidden_size, config.vocab_size, bias=False, dtype=self.dtype)
        ids = torch.randint(5, config.vocab_size, (plan.total,), device=self.device)
        places = torch.arange(0, plan.total - 1, round(1 / MASKED), device=self.device)

        def step() -> None:
            states = hidden_states(model, ids, plan)
            masked_next_token(states[places], ids[places + 1], head).total.backward()
            model.zero_grad()

        rate = plan.total / self.timed(step)
        found = {"tokens_per_second": rate, "length": plan.lengths[0], "gib": self.memory()}
        return found if self.sizes.large == "small" else {**found, "times_published": rate / FLEX_TOKENS}


SECTIONS = tuple(BUDGETS)


def draw_lengths(count: int, mean: int, most: int) -> list[int]:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(count, generator=generator) * mean * 0.5 + mean
    return sorted(drawn.clamp(4, most).int().tolist(), reverse=True)


def reference(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    groups = q.shape[1] // k.shape[1]
    scores = torch.einsum("qhd,khd->hqk", q, k.repeat_interleave(groups, 1)) * q.shape[-1] ** -0.5
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~mask, -torch.inf).softmax(-1), v.repeat_interleave(groups, 1))


def relative(value: torch.Tensor, exact: torch.Tensor) -> float:
    return float((value.double() - exact).norm() / exact.norm())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--small", action="store_true", help="small models and few texts, to test the script itself, without budgets"
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--seconds", type=float, default=20.0, help="most seconds that a section measures, besides preparing")
    parser.add_argument("--minutes", type=float, default=7.5, help="of all sections; one that has no time left says so")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu.json"))
    options = parser.parse_args(arguments)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("error: this machine has no CUDA device; --small --device cpu tests the script")
    begun = time.monotonic()
    bench = Bench(options.device, options.small, options.seconds, options.out)
    for section in options.only:
        left = begun + 60 * options.minutes - time.monotonic()
        bench.run(section, float("inf") if options.small else min(BUDGETS[section], left))
        print(f"{section}: {bench.record['section_seconds'][section]:.0f} s", flush=True)
    record = bench.record
    for section in ("mntp", "simcse"):
        if section in record and "rate" in record:
            record[section]["share_of_rate"] = record[section]["tflops"] / record["rate"]["tflops"]
    record["seconds"] = time.monotonic() - begun
    bench.write()
    print("\n".join(table(record, SECTIONS)))
    return 1 if record["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
