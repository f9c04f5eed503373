"""LongLoRA on novels: perplexity by context before and after extension, and what each of its parts
is worth.

Run: .venv/bin/python benchmarks/longlora.py short [--steps 200] [--base-steps 1000] [--seeds 0 1 2]    a small model, trained here
     .venv/bin/python benchmarks/longlora.py rates [--steps 100] [--base-steps 1000]                    which rates its rows take
     .venv/bin/python benchmarks/longlora.py smollm2 [--context 16384] [--rope yarn] [--steps 6]        SmolLM2-135M, 8,192 to more

"short" trains a small Llama from nothing on rows of 256 tokens, stretches it to 1,024 and tunes it
there in the paper's ways: LoRA, LoRA+ and full fine-tuning, in shifted groups or with full
attention, beside interpolation alone and the base as it is. The lengths that need no GPU, the same
ordering to be looked for. "smollm2" does the part of it that a CPU can bear with a real model.
"rates" tunes each way in shifted groups at several rates, without the last two books of the
training file, and reads those; the best ones stand in `RATES`.

Cost, on one thread of a slow CPU with bfloat16 products (Zen 4, 2.6 GHz; several times as much
without them):

- short: 25 minutes for the base, trained once (4.1M tokens at 2,700 a second); then for each seed
  five rows of 200 steps, 3 to 4 minutes in shifted groups and 8 with full attention, and a minute a
  row for the scores.
- rates: the base, and half an hour.
- smollm2: about 4 minutes a step of one row of 16,384 tokens in shifted groups, 10 with full
  attention; 8 minutes for a row's perplexities (a causal pass over 16,384 tokens takes 3) and 12
  for its passkeys.

Needs the data folder ../shared/data/novels; perplexity is read on its validation books, which
nothing is trained on or chosen by. Runs that exist, and scores that were asked for in the same way,
are reused; killed runs resume. The table is printed and written to OUT/WHAT/table.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

import bothways as bw
from bothways.atomic import atomic_file, atomic_folder
from bothways.attention.shifted import ShiftedGroups
from bothways.backbone.rope import RopeConfig
from bothways.data.text.readers import read_texts
from bothways.errors import BothwaysError
from bothways.evaluation.language_model.causal_model import CausalLM
from bothways.evaluation.language_model.language_model import load_language_model
from bothways.evaluation.tasks.passkey import Passkey
from bothways.evaluation.tasks.perplexity import Perplexity
from bothways.recipes.longlora import Interpolation, Train

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "novels"
TRAIN, VALID = DATA / "train_0.jsonl.gz", DATA / "valid.jsonl.gz"
SHORT, LONG = 256, 1024
VOCABULARY = 4096
TITLE = 20_000  # characters at the beginning of a book that are not read
CHARACTERS = 6  # per token of English: more than any of these tokenizers needs


class Sizes(NamedTuple):
    """What a table costs: steps of tuning, perplexity windows of the greatest length (the shorter
    ones read the same tokens), passkeys at each length and depth.
    """

    steps: int
    windows: int
    keys: int


SIZES = {"short": Sizes(200, 64, 3), "smollm2": Sizes(6, 1, 1), "rates": Sizes(100, 32, 0)}

# of the small model, by `rates`; the published ones of 2e-5 do nothing to so small a model in so
# few steps
RATES: dict[Train, float] = {"lora": 5e-4, "lora+": 5e-4, "full": 1e-4}
TRIED: dict[Train, tuple[float, ...]] = {
    "lora": (2.5e-4, 5e-4, 1e-3, 2e-3),
    "lora+": (2.5e-4, 5e-4, 1e-3, 2e-3),
    "full": (5e-5, 1e-4, 2e-4, 5e-4),
}


class Row(NamedTuple):
    """A line of the table: how the stretched model is tuned; `train` None for not at all,
    `stretched` false for the base as it is.
    """

    name: str
    train: Train | None = None
    shifted: bool = True
    stretched: bool = True


ROWS = (
    Row("base", stretched=False),
    Row("interpolation alone"),
    Row("LoRA, S²", "lora"),
    PLUS := Row("LoRA+, S²", "lora+"),
    Row("LoRA+, full attention", "lora+", shifted=False),
    Row("full fine-tuning, S²", "full"),
    Row("full fine-tuning, full attention", "full", shifted=False),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(SIZES))
    parser.add_argument("--steps", type=int, help="of tuning (short 200, smollm2 6, rates 100)")
    parser.add_argument("--base-steps", type=int, default=1000, help="short, rates: of training the base")
    parser.add_argument("--context", type=int, default=16384, help="smollm2: tokens to be reached")
    parser.add_argument("--rope", choices=get_args(Interpolation), help="interpolation (short linear, smollm2 yarn)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in ROWS], help="some rows only")
    parser.add_argument("--windows", type=int, help="of the greatest length (short 64, smollm2 1)")
    parser.add_argument("--keys", type=int, help="passkeys at each length and depth (short 3, smollm2 1)")
    parser.add_argument("--out", type=Path, default=Path("runs/longlora"))
    options = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"error: {DATA}: not there; these tables need this data folder")
    try:
        text = rates(options) if options.what == "rates" else run(options)
    except BothwaysError as error:
        raise SystemExit(f"error: {error}") from None
    print(text)


class Setting(NamedTuple):
    """What all rows of a table share: the base, what it is stretched to and how, and at which
    lengths it is measured.
    """

    what: str
    base: str
    context: int
    rope: Interpolation
    lengths: list[int]
    keys: list[int]
    sizes: Sizes
    out: Path


def setting(options: argparse.Namespace, what: str, out: Path) -> Setting:
    usual = SIZES[options.what]
    keys = usual.keys if options.keys is None else options.keys
    sizes = Sizes(options.steps or usual.steps, options.windows or usual.windows, keys)
    if what == "short":
        return Setting(
            what,
            short_base(out, options.base_steps),
            LONG,
            options.rope or "linear",
            [128, SHORT, 512, LONG],
            [SHORT, 512, LONG],
            sizes,
            out,
        )
    lengths = sorted({2048, 8192, options.context})
    return Setting(what, "smollm2-135m", options.context, options.rope or "yarn", lengths, lengths, sizes, out)


def run(options: argparse.Namespace) -> str:
    """Train what is not there yet, measure it, write the table and give it back."""
    made = setting(options, options.what, options.out / options.what)
    # what a CPU cannot bear with the real model has to be asked for
    rows = [row for row in ROWS if row.name in options.rows] if options.rows else list(ROWS)
    if not options.rows and made.what == "smollm2":
        rows = [row for row in rows if row.shifted]
    found: dict[str, list[dict[str, Any]]] = {row.name: [] for row in rows}
    for seed in options.seeds:
        for row in rows:
            if row.train is not None or not found[row.name]:
                found[row.name].append(score(row, seed, trained(row, seed, made), made))
                print(f"{row.name}, seed {seed}: {found[row.name][-1]['perplexity']}", flush=True)
    return written(made.out / "table.md", table(found, made.lengths, made.keys))


def rates(options: argparse.Namespace) -> str:
    """Perplexity of two held-out training books at the long context, for each way of training and
    rate.
    """
    made = setting(options, "short", options.out / "short")
    *books, last, latest = read_texts(str(TRAIN))
    out = options.out / "rates"
    source = out / "books.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    with atomic_file(source) as part:
        part.write_text("".join(json.dumps({"text": book}) + "\n" for book in books), encoding="utf-8")
    lines = ["| training | rate | perplexity |", "|---|---:|---:|"]
    for train, tried in TRIED.items():
        for rate in tried:
            place = trained(Row(train, train), 0, made._replace(out=out), source=source, rate=rate)
            file = out / "scores" / f"{Path(place).name}-{made.sizes.windows}.json"
            if not file.exists():
                model = load_language_model(place)
                texts = passages(model, [last, latest], made.sizes.windows, LONG)
                task = Perplexity(texts, name="held-out", length=LONG, stride=LONG, windows=made.sizes.windows)
                written(file, json.dumps(bw.evaluate(model, [task]).main["held-out"]))
            lines.append(f"| {train} | {rate:g} | {json.loads(file.read_text()):.2f} |")
            print(lines[-1], flush=True)
    return written(out / "table.md", "\n".join(lines) + "\n")


def written(file: Path, text: str) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(file) as part:
        part.write_text(text, encoding="utf-8")
    return text


# --- models
# --------------------------------------------------------------------------------------------------------------------


def short_base(out: Path, steps: int) -> str:
    """A Llama of 5.5M parameters, trained from nothing on rows of 256 tokens with full attention;
    its folder.
    """
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


def trained(row: Row, seed: int, made: Setting, *, source: Path = TRAIN, rate: float | None = None) -> str:
    """What a row measures: a folder, or the base where nothing is tuned."""
    if row.train is None:
        return made.base
    changes: dict[str, Any] = {"stages__longlora__optim__steps": made.sizes.steps, "seed": seed}
    if made.what == "short":
        # rows of 1,024 tokens, 4 of them a step
        changes |= {
            "stages__longlora__batch__size": 4,
            "stages__longlora__optim__lr": RATES[row.train] if rate is None else rate,
            # its activations are small, and reading them again would cost a third more time
            "stages__longlora__gradient_checkpointing": False,
        }
    else:
        # the laptop preset's own rate of 2e-4 for adapters, a quarter of it for every weight:
        # choices, not measured optima
        changes["stages__longlora__optim__warmup_steps"] = 2
        if row.train == "full":
            changes["stages__longlora__optim__lr"] = 5e-5
    recipe = bw.recipes.longlora(
        made.base,
        str(source),
        "laptop",
        context=made.context,
        train=row.train,
        shifted=row.shifted,
        rope=made.rope,
        **changes,
    )
    given = "" if rate is None else f"-{rate:g}"
    folder = made.out / f"{row.train}-{'s2' if row.shifted else 'full'}-{made.rope}-{made.context}{given}-seed{seed}"
    bw.train(recipe, folder, resume=folder.exists())
    return str(folder)


# --- scores
# --------------------------------------------------------------------------------------------------------------------


def score(row: Row, seed: int, place: str, made: Setting) -> dict[str, Any]:
    """Perplexity by length and passkey accuracy by length, from the file of an earlier run that
    asked for the same.
    """
    sizes, longest = made.sizes, made.lengths[-1]
    plain = f"{row.name.replace(' ', '-')}-{made.rope}-{made.context}" if row.stretched else f"{row.name}-{made.context}"
    file = made.out / "scores" / f"{plain if row.train is None else Path(place).name}-seed{seed}.json"
    # with the real model, keys cost more than perplexity: before and after is what is asked there
    keyed = sizes.keys > 0 and (made.what == "short" or row.train is None or row == PLUS)
    asked = {"lengths": made.lengths, "keys": made.keys if keyed else [], **sizes._asdict()}
    asked |= {"steps": 0} if row.train is None else {}
    if file.exists() and (before := json.loads(file.read_text())).get("asked") == asked:
        return before
    rope = RopeConfig(type=made.rope, context=made.context) if row.stretched and row.train is None else None
    model = load_language_model(place, rope=rope)
    texts = passages(model, read_texts(str(VALID)), sizes.windows, longest)
    read = sizes.windows * longest
    # the same tokens at every length, in windows that do not overlap
    tasks: list[Any] = [Perplexity(texts, name=f"perplexity-{n}", length=n, stride=n, windows=read // n) for n in made.lengths]
    # the paper's comparison: the groups of training at test too
    groups = ShiftedGroups(at_test=True)
    tasks.append(
        Perplexity(texts, name="perplexity-groups", length=longest, stride=longest, windows=read // longest, shifted=groups)
    )
    if keyed:
        tasks.append(Passkey(made.keys, depths=(0.0, 0.5, 1.0), repeats=sizes.keys))
    results = bw.evaluate(model, tasks)
    found = {
        "asked": asked,
        "perplexity": {str(n): results.main[f"perplexity-{n}"] for n in [*made.lengths, "groups"]},
        "passkey": dict(results.records["passkey"].metrics) if keyed else {},
        "details": {name: record.details for name, record in results.records.items()},
        "minutes": minutes(place) if row.train is not None else 0.0,
    }
    written(file, json.dumps(found, indent=2))
    return found


def passages(model: CausalLM, books: Sequence[str], windows: int, length: int) -> list[str]:
    """Texts of so many windows, each window within one book, behind its title pages: another book
    is no context.
    """
    books = books[:windows]
    each = -(-windows // len(books)) * length
    texts = []
    for number, book in enumerate(books):
        ids = model.tokens(book[TITLE : TITLE + CHARACTERS * each])
        # the EOS between two texts is a token too; behind the last one some to spare, should a cut
        # be tokenised otherwise again
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
        if all(run["passkey"] for run in runs):
            cells += [cell([100 * run["passkey"][f"accuracy[{n}]"] for run in runs], "{:.0f} %") for n in keys]
        else:
            cells += ["not run"] * len(keys)
        spent = statistics.mean(run["minutes"] for run in runs)
        lines.append("| " + " | ".join([name, *cells, f"{spent:.0f} min" if spent else ""]) + " |")
    return "\n".join(lines) + "\n"


def cell(values: list[float], form: str) -> str:
    mean = form.format(statistics.mean(values))
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.2f}"


if __name__ == "__main__":
    main()
