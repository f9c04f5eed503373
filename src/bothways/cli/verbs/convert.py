"""`bothways convert BASE --out DIR`: a base LLM as an untrained encoder on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bothways.cli.options import Device, Factor, hold, say
from bothways.errors import InputError

NAME = "convert"


def command(
    base: Annotated[str, typer.Argument(help="hub id, folder, .gguf file or embedded name")],
    out: Annotated[Path, typer.Option(help="folder to write", callback=hold)],
    direction: Annotated[str, typer.Option(help="bidirectional or causal")] = "bidirectional",
    pooling: Annotated[
        str,
        typer.Option(help="mean, weighted_mean, last, last_tokens, bos, max, first_last_avg, latent_attention, self_attention"),
    ] = "mean",
    windows: Annotated[str, typer.Option(help="sliding windows: lift or keep")] = "lift",
    max_length: Annotated[
        int | None,
        typer.Option(help="tokens per text; 512, or those that --context or the adapter reaches", show_default=False),
    ] = None,
    normalize: Annotated[bool, typer.Option(help="store a module that makes unit vectors")] = False,
    add_bos: Annotated[bool, typer.Option("--add-bos", help="put BOS before every text, if the tokenizer does not")] = False,
    add_eos: Annotated[bool, typer.Option("--add-eos", help="put EOS after every text, if the tokenizer does not")] = False,
    pool_bos: Annotated[bool, typer.Option(help="pool BOS, if it stands before a text")] = True,
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
            help="how --context stretches them: linear, yarn (best where nothing is trained afterwards) or dynamic; as the adapter or "
            "the base has it, else linear",
            show_default=False,
        ),
    ] = None,
    factor: Factor = None,
    dtype: Annotated[str, typer.Option(help="of the stored weights: float32, bfloat16, float16")] = "float32",
    device: Device = "cpu",
) -> None:
    """Make a base LLM bidirectional and save it as an encoder that sentence-transformers and AutoModel load."""
    if context is None and (rope is not None or factor is not None):
        raise InputError(f"--{'factor' if rope is None else 'rope'}: goes with --context, the tokens to be reached")
    from bothways.atomic import refuse_existing
    from bothways.attention.positions import usable_positions
    from bothways.encoder.convert import convert
    from bothways.encoder.proof.doctor import doctor

    refuse_existing(out)  # before the model is read
    # what is not said is the adapter's
    said = {key: value for key, value in (("type", rope), ("context", context), ("factor", factor)) if value is not None}
    encoder = convert(
        base,
        direction=direction,  # type: ignore[arg-type]
        pooling=pooling,
        windows=windows,
        max_length="auto" if max_length is None else max_length,
        normalize=normalize,
        add_bos=add_bos,
        add_eos=add_eos,
        pool_bos=pool_bos,
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
    positions = usable_positions(encoder.backbone)
    read = (
        f"{encoder.max_length}" if positions == encoder.max_length or not positions else f"{encoder.max_length} of {positions}"
    )
    say(f"{out}: {encoder.direction} encoder, {encoder.dimension} dimensions, {pooling} pooling, reads {read} tokens of a text")
    for note in encoder.provenance["report"]["notes"]:
        say(f"  {note}")
