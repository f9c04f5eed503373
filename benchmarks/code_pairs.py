"""Trains on pairs that source code holds by itself, names and comments, and scores the demo's task.

    python benchmarks/code_pairs.py [--seeds 0 1] [--steps 70] [--out runs/code-pairs]

Nobody labels such pairs, and no description of a function takes part in them. Two kinds, in equal
number, from the functions of Python's library that the task does not hold out:

    name      "release condition variable" -> the code of the method; every second time without its name
    comment   the text of a comment -> the function it was taken from, without that comment

The task is `stdlib` of `bothways evaluate`: find one of 1,013 held-out functions by the first
paragraph of its docstring. Supervised training of the laptop preset without MNTP on the bidirectional
base: 70 steps of 48 pairs of at most 96 tokens, some 320,000 tokens. Nothing was tuned on the task.
Finished trainings are reused, and killed ones resume. docs/results/code-pairs.md has the table.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from results_page import Page, command, page_file
from seeds import Found, cell, kept, kept_before, seeds_of, trained, write_table

import bothways as bw
from bothways.atomic import atomic_file
from bothways.data.embedded.stdlib import DOCUMENT_CHARACTERS, Phrases, document, retrieval_task
from bothways.data.embedded.stdlib_source import Function, read_library
from bothways.search.bm25_ranker import BM25
from bothways.training.recipe.overrides import override_values

BASE = "smollm2-135m"
ROW = "pairs of names and comments"
COLUMNS = ["ndcg@10", "recall@10", "alignment", "uniformity"]
WORDS = 5  # a shorter comment rarely says what the code does
COMMENTS = 2  # of one function, at most
OWN_BODY = 40  # characters; shorter bodies, such as `return self._name`, are shared by many


def name_question(name: str) -> str:
    """The words of a method's name and its class, as somebody would type them.

    For example, "asyncio.locks.Condition.notify_all" gives "notify all condition".
    """
    words: list[str] = []
    for part in reversed(name.split(".")[-2:]):
        words += re.sub(r"([a-z])([A-Z])", r"\1 \2", part).replace("_", " ").lower().split()
    return " ".join(words)


def comments(code: str) -> Iterator[tuple[str, str]]:
    """Each block of comment lines that is a sentence, and the code without it."""
    lines = code.split("\n")
    start = 0
    while start < len(lines):
        end = start
        while end < len(lines) and lines[end].lstrip().startswith("#"):
            end += 1
        text = " ".join(line.strip().lstrip("# ") for line in lines[start:end]).strip()
        if len(text.split()) >= WORDS and re.search(r"[a-z]{3,} [a-z]{2,}", text):
            yield text[:300], "\n".join(lines[:start] + lines[end:])
        start = max(end, start + 1)


def cut(text: str) -> str:
    """The text up to the last whole line within the length of the task's documents."""
    if len(text) <= DOCUMENT_CHARACTERS:
        return text
    end = text.rfind("\n", 0, DOCUMENT_CHARACTERS + 1)
    return text[: end if end > 0 else DOCUMENT_CHARACTERS]


def pairs(functions: Sequence[Function], hidden: Sequence[Function], seed: int = 0) -> list[dict[str, str]]:
    """Rows of {query, positive} from functions, in a shuffled order.

    Args:
        functions: what the pairs are made of. Hidden ones among them are left out.
        hidden: functions whose summary and code may not occur in any pair.
        seed: the seed of the choices.
    """
    chance = random.Random(seed)
    names = {function.name for function in hidden}
    phrases = Phrases(
        text for each in hidden for text in (each.summary, document(each)[len(each.name) + len(each.signature) + 2 :])
    )
    named: list[tuple[str, str]] = []
    commented: list[tuple[str, str]] = []
    for function in functions:
        if function.name in names or len(function.body) < OWN_BODY:
            continue
        shown = document(function)
        question = name_question(function.name)
        if len(question.split()) > 1:
            named.append((question, shown if chance.random() < 0.5 else shown.split("\n", 1)[1]))
        found = [(text, cut(f"{function.name}\n{rest}")) for text, rest in comments(function.code)]
        chance.shuffle(found)
        commented += found[:COMMENTS]
    clean = [[row for row in rows if not any(map(phrases.occur_in, row))] for rows in (named, commented)]
    fewest = min(map(len, clean))
    rows = [row for kind in clean for row in chance.sample(kind, fewest)]
    chance.shuffle(rows)
    return [{"query": query, "positive": positive} for query, positive in rows]


def write_pairs(file: Path) -> None:
    """Write the pairs of Python's library, if the file does not exist."""
    if file.is_file():
        return
    functions = read_library().functions
    corpus = retrieval_task().corpus
    made = pairs(functions, [function for function in functions if function.name in corpus])
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(file) as part:
        part.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")


def recipe(options: argparse.Namespace, seed: int) -> bw.Recipe:
    """Supervised training of the laptop preset on the pairs."""
    made = bw.recipes.llm2vec(
        base=options.base, preset="laptop", mntp=False, supervised=[str(options.out / "pairs.jsonl")], seed=seed
    )
    changes = {"batch.size": 48, "optim.steps": options.steps, "objective.max_length": 96}
    return override_values(made, {f"stages.supervised.{key}": value for key, value in changes.items()})


def scores(encoder: Any) -> dict[str, float]:
    """The measures of the task."""
    found = bw.evaluate(encoder, "stdlib")["stdlib"]
    return {name: found[name] * (100 if "@" in name else 1) for name in COLUMNS if name in found}


def figures(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The measures, tokens and minutes of a seed, from an earlier call if it has been trained."""
    made, folder = recipe(options, seed), options.out / f"steps{options.steps}-seed{seed}"

    def train() -> dict[str, Any]:
        spent = trained(made, folder)
        encoder = bw.load(folder)
        encoder.options.max_length = 96  # as the demo
        return {**scores(encoder), **spent}

    return kept(folder.with_name(f"{folder.name}.json"), {"recipe": made.fingerprint()}, train)


def lines(found: Found, bm25: Mapping[str, float]) -> list[str]:
    """The table in Markdown."""
    made = [f"| {' | '.join(['', *COLUMNS, 'tokens', 'training'])} |", "|---" * (len(COLUMNS) + 3) + "|"]
    made.append(f"| {' | '.join(['BM25', *(f'{bm25[name]:.1f}' if name in bm25 else '' for name in COLUMNS), '', ''])} |")
    for row, runs in found.items():
        cells = [cell([run[name] for run in runs.values()], "{:.1f}" if "@" in name else "{:.2f}") for name in COLUMNS]
        tokens, minutes = (sum(run[name] for run in runs.values()) / len(runs) for name in ("tokens", "minutes"))
        made.append(f"| {' | '.join([row, *cells, f'{tokens:,.0f}', f'{minutes:.0f} min'])} |")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=70)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--out", type=Path, default=Path("runs/code-pairs"))
    parser.add_argument("--results", type=Path, help="folder of the page; without it docs/results, if the base is SmolLM2-135M")
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(arguments)
    write_pairs(options.out / "pairs.jsonl")
    about = (
        "Find one of the held-out functions of Python's library by its description, after training SmolLM2-135M on pairs that "
        f"source code holds by itself: names and comments, each with its code. {options.steps} steps of 48 pairs, without MNTP."
    )
    page = Page(
        page_file("code-pairs", options.results, trial=options.base != BASE),
        "Names and comments in place of labels",
        about,
        command("code_pairs.py", arguments),
    )
    bm25 = scores(BM25())
    for seed in options.seeds:
        figures(seed, options)
        runs = {
            each: before
            for each in seeds_of(options.out, options.seeds)
            if (
                before := kept_before(
                    options.out / f"steps{options.steps}-seed{each}.json", {"recipe": recipe(options, each).fingerprint()}
                )
            )
        }
        table = lines({ROW: runs}, bm25)
        print(write_table(options.out, "table", table, {ROW: runs}), flush=True)
        page.write([table], {ROW: runs})


if __name__ == "__main__":
    main()
