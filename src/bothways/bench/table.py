"""The record of a run as a table in Markdown."""

from __future__ import annotations

from typing import Any

_MIB = 2**20


def comparison_table(record: dict[str, Any]) -> str:
    """Return the figures of a record as Markdown: facts, one table, and the peers that did not run.

    A cell of the table is the peer's time divided by that of bothways, "1.42 (1.38–1.47)": the
    median over the rounds, and the quartiles. More than 1 is slower than bothways.
    """
    works = list(record["workloads"])
    lines = [*_facts(record), ""]
    lines.append("| | type | " + " | ".join(_heads(record, works)) + " | memory | cosine |")
    lines.append("|---" * (len(works) + 4) + "|")
    for name, peer in record["peers"].items():
        cells = [_cell(peer["workloads"][work]) for work in works]
        cosine = f"{peer['cosine_mean']:.4f} ({peer['cosine_least']:.3f})"
        memory = f"{peer['memory_bytes'] / _MIB:,.0f} MiB"
        mark = "" if peer["same_vectors"] else " *"
        lines.append(
            f"| {name}{mark} | {peer['dtype']} | {' | '.join(cells)} | {memory} | {cosine} |"
        )
    limit = [_spread(record["limit"][work]["share_of_bothways"]) for work in works]
    lines.append(f"| matrix products alone | {record['dtype']} | {' | '.join(limit)} | | |")
    lines += ["", *_own(record, works)]
    if not all(peer["same_vectors"] for peer in record["peers"].values()):
        lines.append(
            "* gives other vectors than bothways (causal, or rounded), so its time is not comparable."
        )
    lines += [f"{name} did not run: {reason}" for name, reason in record["absent"].items()]
    return "\n".join(lines) + "\n"


def _facts(record: dict[str, Any]) -> list[str]:
    machine, versions = record["machine"], record["versions"]
    first = (
        f"{record['model']}, {record['direction']}, {record['dtype']}, {record['threads']} threads, {record['rounds']} rounds. "
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['instructions'])}), load "
        f"{record['load_at_start']} to {record['load_at_end']}."
    )
    second = (
        f"bothways {versions['bothways']}, torch {versions['torch']}, Python {versions['python']}."
    )
    third = "Time divided by that of bothways in the same round: median (quartiles). Queries also have p50 and p99."
    return [first, second, third]


def _heads(record: dict[str, Any], works: list[str]) -> list[str]:
    sizes = (record["workloads"][work] for work in works)
    return [
        f"{work}: {size['texts']:,} texts, {size['tokens']:,} tokens"
        for work, size in zip(works, sizes)
    ]


def _cell(figures: dict[str, Any]) -> str:
    text = _spread(figures["ratio"])
    if "p50" in figures:
        text += f", {figures['p50']:.0f} and {figures['p99']:.0f} ms"
    return text


def _spread(spread: dict[str, float]) -> str:
    return f"{spread['median']:.2f} ({spread['low']:.2f}–{spread['high']:.2f})"


def _own(record: dict[str, Any], works: list[str]) -> list[str]:
    """Return a line a workload: our tokens per second, and the measured limit."""
    own = next(iter(record["peers"].values()))["workloads"]
    lines = []
    for work in works:
        limit = record["limit"][work]
        lines.append(
            f"{work}: bothways {own[work]['tokens_per_second']['median']:,.0f} tokens/s; matrix products alone "
            f"{limit['tokens_per_second']['median']:,.0f} tokens/s at {limit['gflops']['median']:,.0f} GFLOP/s"
        )
    return lines
