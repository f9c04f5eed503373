"""`bothways export MODEL --to gguf --out DIR`, and `bothways verify-export DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bothways.cli.options import Device, Model, say

NAME = "export"


def command(
    model: Model,
    to: Annotated[
        str,
        typer.Option(
            help="gguf (llama.cpp), ollama (the same files), onnx, openvino, sentence-transformers, vllm, tei or llm2vec"
        ),
    ],
    out: Annotated[Path, typer.Option(help="folder to write")],
    dtype: Annotated[
        str | None,
        typer.Option(help="of the matrices: f32 (default); for gguf also f16 or q8_0; for onnx and openvino also int8"),
    ] = None,
    quantize: Annotated[
        str | None, typer.Option(help="weights in 8 bits: int8 for onnx and openvino, q8_0 for gguf; the same as --dtype")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Write an encoder for another server, with the command that starts it and vectors to check it by."""
    from bothways.exports.export import export

    folder = export(model, out, to=to, dtype=dtype, quantize=quantize, device=device)
    say(f"{folder}: written; see {folder / 'README.md'} for the server's command, then: bothways verify-export {folder}")


def verify(
    folder: Annotated[Path, typer.Argument(help="what bothways export wrote")],
    pythons: Annotated[
        list[str] | None,
        typer.Option("--with", help="Python of another environment, whose loaders are asked too; may be repeated"),
    ] = None,
) -> None:
    """Run an export in its server's code and print the cosine to bothways' vectors; exit code 1 below the bar."""
    from bothways.exports.verify import verify_export, verify_rules

    rules = verify_rules(folder)
    for rule in rules:
        fault = f": {rule.fault}" if rule.fault else ""
        say(f"{'ok  ' if rule.ok else 'FAIL'}  {rule.server}, by rule, not measured: {rule.rule}{fault}")
    results = verify_export(folder, pythons=pythons or ())
    for each in results:
        note = "" if each.cost > 0.99995 else f"  (pools the prompt: {each.cost:.4f} to the encoder's own vector)"
        say(f"{'ok  ' if each.ok else 'FAIL'}  {each.loader}  {each.case:<24} {each.cosine:.6f}{note}")
    worst = min(each.cosine for each in results)
    say(f"least cosine {worst:.6f}, bar {results[0].bar}")
    if not (all(rule.ok for rule in rules) and all(each.ok for each in results)):
        raise typer.Exit(1)
