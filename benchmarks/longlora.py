"""LongLoRA on novels: perplexity by context before and after extension, and what each of its parts is worth.

Run: .venv/bin/python benchmarks/longlora.py short [--steps 500] [--base-steps 2000] [--seeds 0 1]      a small model, trained here
     .venv/bin/python benchmarks/longlora.py smollm2 [--context 16384] [--steps 16]                     SmolLM2-135M, 8,192 to more

"short" trains a small Llama from nothing on rows of 256 tokens, stretches it to 1,024 and tunes it there in the paper's ways: LoRA,
LoRA+ and full fine-tuning, in shifted groups or with full attention, beside interpolation alone and the base as it is. The lengths
that need no GPU, the same ordering to be looked for. "smollm2" does the part of it that a CPU can bear with a real model.

Cost, by arithmetic from the rates of single passes on two CPU cores with bfloat16 products (several times as much without them):

- short, 40 to 50 minutes for one seed: 13 for the base (8.2M tokens at 10,000 a second), then for 2M tokens each 3.5 in shifted groups
  (10,000 a second; three rows) and 5.5 with full attention (6,500 a second; two rows), half a minute a row for the scores. A further
  seed costs 25: the base is trained once.
- smollm2, about an hour: 26 minutes for 16 steps of one row of 16,384 tokens (98 s each), and 10 for the scores of each of three rows
  (a full causal pass over 16,384 tokens takes 67 s). 40 steps, as the recipe's laptop preset has, cost 40 minutes more.

Needs the data folder ../shared/data/novels; perplexity is read on its validation books, which nothing is trained on. Runs that exist,
and scores that were asked for in the same way, are reused; killed runs resume. The table is printed and written to OUT/table.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

import bothways as bw
from bothways.atomic import atomic_file, atomic_folder
from bothways.attention.shifted import ShiftedGroups
from bothways.data.readers import read_texts
from bothways.errors import BothwaysError
from bothways.evaluation.language_model import CausalLM, load_language_model
from bothways.evaluation.passkey import Passkey
from bothways.evaluation.perplexity import Perplexity

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "novels"
TRAIN, VALID = DATA / "train_0.jsonl.gz", DATA / "valid.jsonl.gz"
SHORT, LONG = 256, 1024
VOCABULARY = 4096
TITLE = 20_000  # characters at the beginning of a book that are not read
CHARACTERS = 6  # per token of English: more than any of these tokenizers needs


class Sizes(NamedTuple):
    """What a table costs: steps of tuning, perplexity windows of the greatest length (the shorter ones read the same tokens), passkeys
    at each length and depth.
    """

    steps: int
    windows: int
    keys: int


SIZES = {"short": Sizes(500, 64, 3), "smollm2": Sizes(16, 2, 1)}


class Row(NamedTuple):
    """A line of the table: how the stretched model is tuned; `train` None for not at all, `stretched` false for the base as it is."""

    name: str
    train: str | None = None
    shifted: bool = True
    stretched: bool = True


ROWS = (
    Row("base", stretched=False),
    Row("interpolation alone"),
    Row("LoRA, S²", "lora"),
    Row("LoRA+, S²", "lora+"),
    Row("LoRA+, full attention", "lora+", shifted=False),
    Row("full fine-tuning, S²", "full"),
    Row("full fine-tuning, full attention", "full", shifted=False),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["short", "smollm2"])
    parser.add_argument("--steps", type=int, help="of tuning (short 500, smollm2 16)")
    parser.add_argument("--base-steps", type=int, default=2000, help="short: of training the base")
    parser.add_argument("--context", type=int, default=16384, help="smollm2: tokens to be reached")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in ROWS], help="some rows only")
    parser.add_argument("--windows", type=int, help="of the greatest length (short 64, smollm2 2)")
    parser.add_argument("--keys", type=int, help="passkeys at each length and depth (short 3, smollm2 1)")
    parser.add_argument("--out", type=Path, default=Path("runs/longlora"))
    options = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"error: {DATA}: not there; these tables need this data folder")
    try:
        text = run(options, options.out / options.what)
    except BothwaysError as error:
        raise SystemExit(f"error: {error}") from None
    print(text)


def run(options: argparse.Namespace, out: Path) -> str:
    """Train what is not there yet, measure it, write the table and give it back."""
    short, usual = options.what == "short", SIZES[options.what]
    sizes = Sizes(options.steps or usual.steps, options.windows or usual.windows, options.keys or usual.keys)
    if short:
        base, context = short_base(out, options.base_steps), LONG
        lengths, keys, rows = [128, SHORT, 512, LONG], [SHORT, 512, LONG], list(ROWS)
    else:
        base, context = "smollm2-135m", options.context
        lengths = sorted({2048, 8192, context})
        keys, rows = lengths, [row for row in ROWS if row.train in (None, "lora+") and row.shifted]
    rows = [row for row in rows if not options.rows or row.name in options.rows]
    if not rows:
        raise SystemExit(f"error: --rows: {options.what} has none of these")
    found: dict[str, list[dict[str, Any]]] = {row.name: [] for row in rows}
    for seed in options.seeds:
        for row in rows:
            if row.train is not None or not found[row.name]:
                place = trained(row, seed, base, context, sizes.steps, out, short=short)
                found[row.name].append(score(row, seed, place, base, context, lengths, keys, sizes, out))
    text = table(found, lengths, keys)
    out.mkdir(parents=True, exist_ok=True)
    with atomic_file(out / "table.md") as part:
        part.write_text(text, encoding="utf-8")
    return text


# --- models --------------------------------------------------------------------------------------------------------------------


def short_base(out: Path, steps: int) -> str:
    """A Llama of 5.5M parameters, trained from nothing on rows of 256 tokens with full attention; its folder."""
    start = out / "start"
    if not start.exists():
        with atomic_folder(start) as part:
            tokenizer = byte_pairs(read_texts(str(TRAIN)))
            tokenizer.save_pretrained(part)
            torch.manual_seed(0)
            config = LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=256,
                intermediate_size=704,
                num_hidden_layers=6,
                num_attention_heads=8,
                num_key_value_heads=4,
                max_position_embeddings=SHORT,
                tie_word_embeddings=True,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
            AutoModelForCausalLM.from_config(config).save_pretrained(part)
    made = bw.Recipe.from_values(
        {
            "name": "short-base",
            "base": str(start),
            "direction": "causal",
            "max_length": SHORT,
            "stages": [
                {
                    "name": "base",
                    "objective": {"kind": "causal_lm", "context": SHORT, "shifted": None},
                    "data": {"source": str(TRAIN)},
                    "batch": {"size": 16},
                    "optim": {"lr": 1e-3, "schedule": "cosine", "warmup_steps": 100, "betas": [0.9, 0.95], "steps": steps},
                    "adapter": None,
                    "save_every": 250,
                }
            ],
        }
    )
    folder = out / "base"
    bw.train(made, folder, resume=folder.exists())
    return str(folder)


def byte_pairs(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of `VOCABULARY` tokens."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def trained(row: Row, seed: int, base: str, context: int, steps: int, out: Path, *, short: bool) -> str:
    """What a row measures: a folder, or the base where nothing is tuned."""
    if row.train is None:
        return base
    changes: dict[str, Any] = {"stages__longlora__optim__steps": steps, "seed": seed}
    if short:
        # rows of 1,024 tokens, 4 of them a step; rates of the size of the published ones do nothing to so small a model in 500 steps
        rate = {"lora": 2e-3, "lora+": 2e-3, "full": 5e-4}[row.train]
        changes |= {"stages__longlora__batch__size": 4, "stages__longlora__optim__lr": rate}
        # its activations are small, and reading them again would cost a third more time
        changes["stages__longlora__gradient_checkpointing"] = False
    else:
        # a rate for sixteen steps: a choice, not a measured optimum
        changes |= {"stages__longlora__optim__lr": 5e-4, "stages__longlora__optim__warmup_steps": 2}
    made = bw.recipes.longlora(
        base,
        str(TRAIN),
        "laptop",
        context=context,
        train=row.train,
        shifted=row.shifted,
        **changes,  # type: ignore[arg-type]
    )
    folder = out / f"{row.train}-{'s2' if row.shifted else 'full'}-{context}-seed{seed}"
    bw.train(made, folder, resume=folder.exists())
    return str(folder)


# --- scores --------------------------------------------------------------------------------------------------------------------


def score(
    row: Row, seed: int, place: str, base: str, context: int, lengths: list[int], keys: list[int], sizes: Sizes, out: Path
) -> dict[str, Any]:
    """Perplexity by length and passkey accuracy by length, from the file of an earlier run that asked for the same."""
    name = Path(place).name if row.train is not None else f"{row.name.replace(' ', '-')}-{context}"
    file = out / "scores" / f"{name}-seed{seed}.json"
    asked = {"lengths": lengths, "keys": keys, "groups": True, **sizes._asdict()} | ({"steps": 0} if row.train is None else {})
    if file.exists() and (before := json.loads(file.read_text())).get("asked") == asked:
        return before
    rope = None
    if row.stretched and row.train is None:
        own = load_language_model(base, device="cpu").positions
        assert own is not None
        rope = {"rope_type": "linear", "factor": float(-(-context // own))}
    model = load_language_model(place, rope=rope)
    texts = passages(model, sizes.windows, max(lengths))
    read = sizes.windows * max(lengths)
    # the same tokens at every length, in windows that do not overlap
    tasks = [Perplexity(texts, name=f"perplexity-{n}", length=n, stride=n, windows=read // n) for n in lengths]
    # the paper's comparison: the groups of training at test too
    size = {"length": lengths[-1], "stride": lengths[-1], "windows": read // lengths[-1]}
    tasks.append(Perplexity(texts, name="perplexity-groups", shifted=ShiftedGroups(at_test=True), **size))
    results = bw.evaluate(model, [*tasks, Passkey(keys, depths=(0.0, 0.5, 1.0), repeats=sizes.keys)])
    found = {
        "asked": asked,
        "perplexity": {str(n): results.main[f"perplexity-{n}"] for n in [*lengths, "groups"]},
        "passkey": dict(results.records["passkey"].metrics),
        "details": {name: record.details for name, record in results.records.items()},
        "minutes": minutes(place) if row.train is not None else 0.0,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(file) as part:
        part.write_text(json.dumps(found, indent=2))
    return found


def passages(model: CausalLM, windows: int, length: int) -> list[str]:
    """Texts of so many windows, each window within one book, behind its title pages: another book is no context."""
    books = read_texts(str(VALID))[:windows]
    each = -(-windows // len(books)) * length
    texts = []
    for number, book in enumerate(books):
        ids = model.tokens(book[TITLE : TITLE + CHARACTERS * each])
        # the EOS between two texts is a token too; behind the last one some to spare, should a cut be tokenised otherwise again
        texts.append(model.tokenizer.decode(ids[: each - 1 if number + 1 < len(books) else each + 64]))
    return texts


def minutes(place: str) -> float:
    lines = [json.loads(line) for line in (Path(place) / "metrics.jsonl").read_text().splitlines()]
    return max(line.get("seconds", 0.0) for line in lines) / 60


def table(found: dict[str, list[dict[str, Any]]], lengths: list[int], keys: list[int]) -> str:
    longest = f"in groups at {lengths[-1]:,}"
    head = ["row", *(f"perplexity at {n:,}" for n in lengths), longest, *(f"passkey at {n:,}" for n in keys), "training"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for name, runs in found.items():
        cells = [cell([run["perplexity"][str(n)] for run in runs], "{:.2f}") for n in [*lengths, "groups"]]
        cells += [cell([100 * run["passkey"][f"accuracy[{n}]"] for run in runs], "{:.0f} %") for n in keys]
        spent = statistics.mean(run["minutes"] for run in runs)
        lines.append("| " + " | ".join([name, *cells, f"{spent:.0f} min" if spent else ""]) + " |")
    return "\n".join(lines) + "\n"


def cell(values: list[float], form: str) -> str:
    mean = form.format(statistics.mean(values))
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.2f}"


if __name__ == "__main__":
    main()
