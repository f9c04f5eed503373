"""Measure two encoders on the same pairs, and write a page that says whether they differ.

    python examples/evaluate_and_report.py
    python examples/evaluate_and_report.py --model runs/mine --against smollm2-135m --pairs test.jsonl

The pairs are {"sentence1": …, "sentence2": …, "score": …}. Prints the rank correlation of cosine and
score for both, and the first sentence of the page: what improved, by how much, and whether the
difference is larger than chance. By default one base is compared with itself in the other
direction, on 24 pairs.
"""

import argparse
from pathlib import Path

import bothways as bw
from bothways.encoder.load import is_encoder
from bothways.report.page import summary, write_report

DATA = Path(__file__).parent / "data" / "similar.jsonl"


def opened(name: str, direction: str) -> bw.Encoder:
    """A finished encoder as it is, or a base model in a direction."""
    return bw.load(name) if is_encoder(name) else bw.convert(name, direction=direction)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m", help="an encoder folder or a base LLM")
    parser.add_argument(
        "--against",
        default="smollm2-135m",
        help="the baseline; a base LLM is measured as it is, causal",
    )
    parser.add_argument("--pairs", default=str(DATA))
    parser.add_argument("--out", default="runs/report", type=Path)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)

    task = f"sts:{given.pairs}?name=pairs"
    encoders = {
        "baseline": opened(given.against, "causal"),
        "mine": opened(given.model, "bidirectional"),
    }
    files = []
    for name, encoder in encoders.items():
        results = bw.evaluate(encoder, task, out=given.out / f"{name}.json")
        print(f"{name}: Spearman {results['pairs']['spearman']:.3f}")
        files.append(f"{name}={given.out / name}.json")

    page = given.out / "report.html"
    write_report(files, page, baseline="baseline")
    print(summary(files, baseline="baseline"))
    print(f"saved {page}; open it in a browser")


if __name__ == "__main__":
    main()
