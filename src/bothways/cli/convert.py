"""`bothways convert BASE --out DIR`: a base LLM as an untrained encoder on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bothways.cli.options import Device, say
from bothways.errors import InputError

NAME = "convert"


def command(
    base: Annotated[str, typer.Argument(help="hub id, folder, .gguf file or embedded name")],
    out: Annotated[Path, typer.Option(help="folder to write")],
    direction: Annotated[str, typer.Option(help="bidirectional or causal")] = "bidirectional",
    pooling: Annotated[
        str, typer.Option(help="mean, weighted_mean, last, last_tokens, bos, max, latent_attention, self_attention")
    ] = "mean",
    windows: Annotated[str, typer.Option(help="sliding windows: lift or keep")] = "lift",
    max_length: Annotated[
        int | None,
        typer.Option(help="tokens per text; 512, or those that --context or the adapter reaches", show_default=False),
    ] = None,
    normalize: Annotated[bool, typer.Option(help="store a module that makes unit vectors")] = False,
    adapter: Annotated[
        str | None, typer.Option(help="folder or hub id of a PEFT adapter to merge into the base, LoRA+ too")
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(help="stretch rotary positions to this many tokens; an adapter of ours says what it was trained at"),
    ] = None,
    rope: Annotated[
        str | None,
        typer.Option(
            help="how --context stretches them: linear, yarn (best where nothing is trained afterwards) or dynamic; as the adapter "
            "has it, else linear",
            show_default=False,
        ),
    ] = None,
    factor: Annotated[
        float | None,
        typer.Option(
            help="the whole stretch from the base's first training, where it has been stretched before; else found from --context",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="of the stored weights: float32, bfloat16, float16")] = "float32",
    device: Device = "cpu",
) -> None:
    """Make a base LLM bidirectional and save it as an encoder that sentence-transformers and AutoModel load."""
    if context is None and (rope is not None or factor is not None):
        raise InputError(f"--{'factor' if rope is None else 'rope'}: goes with --context, the tokens to be reached")
    from bothways.atomic import refuse_existing
    from bothways.backbone.adapters import adapter_rope
    from bothways.encoder.build import MAX_LENGTH, convert
    from bothways.encoder.doctor import doctor

    refuse_existing(out)  # before the model is read
    own = adapter_rope(adapter)
    reached = context if own is None or context is not None else own.context
    # what is not said is the adapter's
    said = {key: value for key, value in (("type", rope), ("context", context), ("factor", factor)) if value is not None}
    encoder = convert(
        base,
        direction=direction,  # type: ignore[arg-type]
        pooling=pooling,
        windows=windows,
        max_length=max_length if max_length is not None else reached or MAX_LENGTH,
        normalize=normalize,
        adapter=adapter,
        rope=said or None,
        dtype=dtype,
        device=device,
    )
    diagnosis = doctor(encoder, quick=True)
    if not diagnosis.ok:
        say(str(diagnosis))
        raise typer.Exit(1)
    encoder.save(out)
    say(f"{out}: {encoder.direction} encoder, {encoder.dimension} dimensions, {pooling} pooling")
    for note in encoder.provenance["report"]["notes"]:
        say(f"  {note}")
