"""`bothways convert BASE --out DIR`: save a base LLM as an untrained encoder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bothways.cli.json_output import Json, print_json
from bothways.cli.option_groups import flat
from bothways.cli.options import POOLINGS, Device, Factor, Rope, hold, say, say_next
from bothways.errors import InputError

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

NAME = "convert"


@dataclass(frozen=True)
class TextOptions:
    """How the encoder reads a text."""

    windows: Annotated[
        str, typer.Option(help="sliding windows of the base: lift (read the whole text) or keep")
    ] = "lift"
    max_length: Annotated[
        int | None,
        typer.Option(
            help="tokens that are read of a text; 512 if not given, or the reach of --context or of the adapter",
            show_default=False,
        ),
    ] = None
    normalize: Annotated[
        bool, typer.Option(help="store a module that scales vectors to length 1")
    ] = False
    add_bos: Annotated[
        bool, typer.Option("--add-bos", help="put BOS before every text if the tokenizer does not")
    ] = False
    add_eos: Annotated[
        bool, typer.Option("--add-eos", help="put EOS after every text if the tokenizer does not")
    ] = False
    pool_bos: Annotated[
        bool, typer.Option(help="include BOS in the pooling if a text starts with it")
    ] = True

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `bothways.convert`."""
        return {
            **asdict(self),
            "max_length": "auto" if self.max_length is None else self.max_length,
        }


@dataclass(frozen=True)
class LongerContext:
    """Rotary positions for a longer context."""

    context: Annotated[
        int | None,
        typer.Option(
            help="stretch rotary positions to this many tokens; not needed for an adapter of ours, which stores its context"
        ),
    ] = None
    rope: Rope = None
    factor: Factor = None

    def settings(self) -> dict[str, Any] | None:
        """Return the given settings, or None without `--context`. An adapter's fill in the rest.

        Raises:
            InputError: if there are other settings without `--context`.
        """
        if self.context is None and (self.rope is not None or self.factor is not None):
            raise InputError(
                f"--{'factor' if self.rope is None else 'rope'}: needs --context, the number of tokens to stretch to"
            )
        written = (("type", self.rope), ("context", self.context), ("factor", self.factor))
        return {key: value for key, value in written if value is not None} or None


# Options with a long help, which the signature of the command names.
_Adapter = Annotated[
    str | None,
    typer.Option(help="folder or hub id of a PEFT adapter to merge into the base, LoRA+ too"),
]
_Dtype = Annotated[
    str, typer.Option(help="type of the stored weights: float32, bfloat16 or float16")
]


@flat
def command(
    base: Annotated[str, typer.Argument(help="hub id, folder, .gguf file or embedded name")],
    out: Annotated[Path, typer.Option(help="folder to write", callback=hold)],
    *,
    direction: Annotated[str, typer.Option(help="bidirectional or causal")] = "bidirectional",
    pooling: Annotated[str, typer.Option(help=POOLINGS)] = "mean",
    texts: TextOptions,
    adapter: _Adapter = None,
    longer: LongerContext,
    dtype: _Dtype = "float32",
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Make a base LLM bidirectional and save it as an encoder.

    sentence-transformers and transformers' AutoModel load the folder.
    """
    rope = longer.settings()
    from bothways.atomic import refuse_existing
    from bothways.encoder.convert import convert
    from bothways.encoder.proof.doctor import doctor

    refuse_existing(out)  # before the model is read
    encoder = convert(
        base,
        direction=direction,  # type: ignore[arg-type]
        pooling=pooling,
        adapter=adapter,
        rope=rope,
        dtype=dtype,
        device=device,
        **texts.arguments(),
    )
    diagnosis = doctor(encoder, quick=True)
    if not diagnosis.ok:
        say(str(diagnosis))
        print_json({"ok": False, "checks": diagnosis.checks})
        raise typer.Exit(1)
    encoder.save(out)
    _report(encoder, out)


def _report(encoder: Encoder, out: Path) -> None:
    """Print what was written."""
    from bothways.attention.positions import usable_positions

    positions = usable_positions(encoder.backbone)
    limit = (
        f"{encoder.max_length}"
        if positions in (0, None, encoder.max_length)
        else f"{encoder.max_length} of {positions}"
    )
    say(
        f"{out}: {encoder.direction} encoder, {encoder.dimension} dimensions, "
        f"{encoder.pooling.mode} pooling, reads {limit} tokens of a text"
    )
    for note in encoder.provenance["report"]["notes"]:
        say(f"  {note}")
    print_json(
        {
            "out": out,
            "direction": encoder.direction,
            "dimension": encoder.dimension,
            "pooling": encoder.pooling.mode,
            "max_length": encoder.max_length,
            "positions": positions,
            "notes": encoder.provenance["report"]["notes"],
        }
    )
    say_next("bothways", "doctor", out)
