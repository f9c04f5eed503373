"""`bothways export MODEL --to gguf --out DIR`, and `bothways verify-export DIR`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from bothways.cli.json_output import Json, print_json
from bothways.cli.options import Device, Model, say, say_next

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
        typer.Option(
            help="type of the matrices: f32 (default), f16 (gguf and folders), q8_0 (gguf) or int8 (onnx and openvino)"
        ),
    ] = None,
    quantize: Annotated[
        str | None,
        typer.Option(
            help="8-bit weights, another way to write --dtype: int8 for onnx and openvino, q8_0 for gguf"
        ),
    ] = None,
    adapters: Annotated[
        bool,
        typer.Option(
            "--adapters",
            help="for llm2vec: the base and the adapter of each stage, as LLM2Vec publishes them, not merged weights",
        ),
    ] = False,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Write an encoder for another server.

    The folder has a README with the server's command, and vectors that `verify-export` checks.
    """
    from bothways.exports.export import export
    from bothways.exports.manifest import read_manifest

    folder = export(
        model, out, to=to, dtype=dtype, quantize=quantize, device=device, adapters=adapters
    )
    say(f"{folder}: written; {folder / 'README.md'} says how to run it")
    commands = dict(read_manifest(folder).get("commands", {}))
    for server, command in commands.items():
        say(f"{server}: cd {shlex.quote(str(folder))} && {command}")
    print_json(
        {
            "out": folder,
            "to": to,
            "files": sorted(each.name for each in folder.iterdir()),
            "commands": commands,
        }
    )
    elsewhere = (
        ("--with", "PYTHON") if to == "llm2vec" else ()
    )  # it runs in an environment of its own
    say_next("bothways", "verify-export", folder, *elsewhere)


def verify(
    folder: Annotated[Path, typer.Argument(help="folder of bothways export")],
    pythons: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            help="Python of another environment, to check with its loaders too; repeat for several",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Run an export in the code of its server, and print the cosine to bothways' vectors.

    The exit code is 1 if a cosine is too low.
    """
    from bothways.exports.verify import verify_export, verify_rules

    rules = verify_rules(folder)
    for rule in rules:
        fault = f": {rule.fault}" if rule.fault else ""
        say(
            f"{'ok  ' if rule.ok else 'FAIL'}  {rule.server}, by rule, not measured: {rule.rule}{fault}"
        )
    results = verify_export(folder, pythons=pythons or ())
    for each in results:
        note = (
            ""
            if each.cost > 0.99995
            else f"  (pools the prompt: cosine {each.cost:.4f} to the encoder's own vector)"
        )
        say(
            f"{'ok  ' if each.ok else 'FAIL'}  {each.loader}  {each.case:<24} {each.cosine:.6f}{note}"
        )
    worst = min(each.cosine for each in results)
    say(f"lowest cosine {worst:.6f}, at least {results[0].bar} is needed")
    passed = all(rule.ok for rule in rules) and all(each.ok for each in results)
    print_json(
        {"folder": folder, "ok": passed, "rules": rules, "cosines": results, "lowest": worst}
    )
    if not passed:
        raise typer.Exit(1)
