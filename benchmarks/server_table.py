"""Prints the table of docs/servers.md: which family each folder export serves, from the rules and without running a model."""

from __future__ import annotations

import sys

from bothways.exports.llm2vec_folder import FAMILIES, WRITTEN_AS_LLAMA
from bothways.exports.server_rules import SERVERS, TEI, VLLM, Server


def cell(server: Server, kind: str) -> str:
    """Give what a server does with a family."""
    family = server.families.get(kind)
    if family is None:
        return f"refused: {server.refused.get(kind, server.otherwise)}"
    return "by rule, as Llama" if family.architecture is None else "by rule"


def main() -> None:
    """Print one row for each family."""
    kinds = sorted({kind for server in SERVERS.values() for kind in (*server.families, *server.refused)})
    rows = ["| family | vLLM 0.33.0 | TEI 1.9 | llm2vec 0.2.3 |", "|---|---|---|---|"]
    for kind in kinds:
        ours = (
            "runs" if kind in FAMILIES else "runs, as Llama" if kind in WRITTEN_AS_LLAMA else "refused: it has no class for it"
        )
        rows.append(f"| {kind} | {cell(VLLM, kind)} | {cell(TEI, kind)} | {ours} |")
    sys.stdout.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
