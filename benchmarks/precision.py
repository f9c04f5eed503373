"""What documents in fewer bits cost a trained encoder: nDCG@10 in float32, int8, binary, and binary with rescoring.

Run: .venv/bin/python benchmarks/precision.py MODEL [MODEL …] [--task retrieval:../shared/data/scifact] [--rescore 2 4 10]
     [--max-length 128] [--device auto] [--dtype auto] [--out runs/precision]

MODEL is an encoder folder, for example one that was trained with `quantize: [binary]` beside one that was not. Texts are
encoded once for all rows; 5,183 abstracts of SciFact cut at 128 tokens are 660,000 tokens. The table is printed and written
to OUT/NAME.md and OUT/NAME.json, where NAME is the folder's. Figures of the same model, task and settings are reused. All
models together are written to docs/results/precision.md: folders that differ in their ending -seedN alone are one model of
several seeds. A row is also a command, for example
`bothways evaluate MODEL --task 'retrieval:scifact?precision=binary&rescore=4'`.
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from results_page import Page, command, page_file
from seeds import cell, kept, write_table

import bothways as bw
from bothways.cli.open_model import cut_texts, open_evaluated
from bothways.errors import BothwaysError
from bothways.evaluation.model_identity import model_fingerprint
from bothways.evaluation.registry import make_task
from bothways.search.quantized import Quantization
from bothways.search.vectors import Role, encode_texts

SCIFACT = Path(__file__).resolve().parents[2] / "shared" / "data" / "scifact"


class Remembered:
    """An encoder that encodes each text once, whatever the number of tasks."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self._known: dict[tuple[Role, str | None, str], np.ndarray] = {}

    def encode(self, texts: list[str], prompt: str | None = None) -> np.ndarray:
        return self._vectors(texts, "symmetric", prompt)

    def encode_query(self, texts: list[str], prompt: str | None = None) -> np.ndarray:
        return self._vectors(texts, "query", prompt)

    def encode_document(self, texts: list[str], prompt: str | None = None) -> np.ndarray:
        return self._vectors(texts, "document", prompt)

    def _vectors(self, texts: list[str], role: Role, prompt: str | None) -> np.ndarray:
        new = [text for text in texts if (role, prompt, text) not in self._known]
        if new:
            for text, vector in zip(new, encode_texts(self.encoder, new, role, prompt=prompt)):
                self._known[role, prompt, text] = vector
        return np.stack([self._known[role, prompt, text] for text in texts])


def choices(rescore: Sequence[int]) -> dict[str, Quantization]:
    """Rows by title."""
    return {
        "float32": Quantization(),
        "int8": Quantization("int8"),
        "binary": Quantization("binary"),
        **{f"binary, best {n} K scored again": Quantization("binary", n) for n in rescore},
        **{f"binary, best {n} K scored again in int8": Quantization("binary", n, "int8") for n in rescore},
    }


def measured(encoder: Any, task: str, rescore: Sequence[int]) -> dict[str, dict[str, float]]:
    """nDCG@10 x 100 of each row, and the bytes of a document."""
    found = {}
    remembered = Remembered(encoder)
    for title, chosen in choices(rescore).items():
        options = {"precision": chosen.precision, "rescore": chosen.rescore, "rescore_with": chosen.rescore_with}
        written = "&".join(f"{name}={value}" for name, value in options.items() if value is not None)
        made = make_task(f"{task}{'&' if '?' in task else '?'}{written}&name={title}")
        score = 100 * bw.evaluate(remembered, [made])[title]["ndcg@10"]
        found[title] = {"nDCG@10": score, "bytes": chosen.bytes_of(encoder.dimension)}
        kept = "" if chosen.rescore_with is None else f" + {Quantization(chosen.rescore_with).bytes_of(encoder.dimension):,}"
        print(f"{title}: {score:.2f}, {found[title]['bytes']:,}{kept} bytes a document", flush=True)
    return found


def lines(found: dict[str, dict[str, float]]) -> list[str]:
    """The table, with the loss against float32 in points."""
    exact = found["float32"]["nDCG@10"]
    head = ["| documents | nDCG@10 | against float32 | bytes searched first, a document |", "|---|---:|---:|---:|"]
    return head + [
        f"| {title} | {row['nDCG@10']:.2f} | {row['nDCG@10'] - exact:+.2f} | {row['bytes']:,} |" for title, row in found.items()
    ]


def group(folder: str) -> tuple[str, int]:
    """Model and seed by a folder's name. For example, "runs/plain-seed2" is ("plain", 2)."""
    name = Path(folder).name
    found = re.fullmatch(r"(.+)-seed(\d+)", name)
    return (found[1], int(found[2])) if found else (name, 0)


def joined(found: dict[str, dict[int, dict[str, Any]]]) -> list[str]:
    """The table of all models, mean and deviation over seeds, with the loss against the same model's float32."""
    head = ["model", "documents", "seeds", "nDCG@10", "against float32", "bytes searched first", "training tokens"]
    made = [f"| {' | '.join(head)} |", "|---" * 3 + "|---:" * 4 + "|"]
    for model, by_seed in found.items():
        tokens = {run["tokens"] for run in by_seed.values()} - {None}
        for title in next(iter(by_seed.values()))["rows"]:
            rows = [run["rows"][title] for run in by_seed.values()]
            losses = [run["rows"][title]["nDCG@10"] - run["rows"]["float32"]["nDCG@10"] for run in by_seed.values()]
            cells = [model, title, ", ".join(map(str, by_seed)), cell([row["nDCG@10"] for row in rows], "{:.2f}")]
            cells += [cell(losses, "{:.2f}"), f"{rows[0]['bytes']:,}", f"{max(tokens):,}" if tokens else ""]
            made.append(f"| {' | '.join(cells)} |")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="encoder folder")
    parser.add_argument("--task", default=f"retrieval:{SCIFACT}")
    parser.add_argument("--rescore", type=int, nargs="+", default=[2, 4, 10])
    parser.add_argument("--max-length", type=int, help="tokens that are read of a text")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/precision"))
    parser.add_argument(
        "--results", type=Path, help="folder of the page; without it docs/results, for SciFact's whole test set"
    )
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(arguments)
    try:
        fill(options, arguments)
    except BothwaysError as error:
        raise SystemExit(f"error: {error}") from None


def fill(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Measure the models one by one, and write their tables after each one."""
    about = (
        f"nDCG@10 x 100 of {options.task.rpartition('/')[2]}, "
        + ("whole texts" if options.max_length is None else f"the first {options.max_length} tokens of a text")
        + ", by the form in which documents are searched first. Queries stay in float32."
    )
    file = page_file("precision", options.results, trial=options.task != f"retrieval:{SCIFACT}")
    page = Page(file, "What documents in fewer bits cost", about, command("precision.py", arguments))
    task = make_task(options.task)
    together: dict[str, dict[int, dict[str, Any]]] = {}
    for model in options.models:
        encoder = open_evaluated(model, [task], device=options.device, dtype=options.dtype)
        if options.max_length is not None:
            cut_texts(encoder, options.max_length)
        name = Path(model).name
        asked = {
            "model": model_fingerprint(encoder),
            "task": options.task,
            "data": task.fingerprint,
            "rescore": options.rescore,
        }
        make = functools.partial(measured, encoder, options.task, options.rescore)
        rows = kept(options.out / "scores" / f"{name}.json", asked, lambda make=make: {"rows": make()})["rows"]
        print(f"\n{model}\n\n{write_table(options.out, name, lines(rows), rows)}")
        stages = (getattr(encoder, "provenance", None) or {}).get("stages", ())
        tokens = sum(stage.get("tokens", 0) for stage in stages) or None
        title, seed = group(model)
        together.setdefault(title, {})[seed] = {"rows": rows, "tokens": tokens}
        page.write([joined(together)], together)


if __name__ == "__main__":
    main()
