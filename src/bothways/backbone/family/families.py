"""The model families that can be made bidirectional: refusals by name and by config, and a table.

`convert` first calls `check_supported`. Some families pass a naive probe and are still not
bidirectional. LFM2 and Falcon-H1 have attention layers that look ahead and other layers that
cannot. The first token then reacts to the last one, although half of the network runs in one
direction. Such families are recognized by the layers in their config.

They stay causal, so a causal encoder can be made of them (`direction="causal"`).

`measure_families` proves the other families on small random models (`zoo`), on your machine. It
gives one row per family that transformers registers for causal language modeling. The references
share no code with the library: stock transformers with padding, and the untouched model under an
explicit mask in which every token sees every other.
"""

from __future__ import annotations

import re
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from transformers import CONFIG_MAPPING, PretrainedConfig
from transformers.utils import logging

from bothways.attention.text_config import is_encoder_only
from bothways.backbone.family import zoo
from bothways.config import Direction
from bothways.errors import InputError, UnsupportedFamily
from bothways.nearest import did_you_mean
from bothways.progress import Progress

Verdict = Literal["proven", "refused", "failed", "not a text decoder"]

_RECURRENT = "runs a state-space or recurrent layer from left to right, which no attention mask can turn around"
_CONVOLUTION = "has causal convolutions next to its attention layers, which never see later tokens"
_LINEAR = "has linear-attention layers, which carry a state from left to right"

_WRITTEN = "hides later tokens inside its layers' own code, whatever mask it is given"

REFUSED: dict[str, str] = {
    "xlstm": _RECURRENT,
    "rwkv": _RECURRENT,
    "recurrent_gemma": _RECURRENT,
    "gpt_neo": _WRITTEN,
    "openai-gpt": _WRITTEN,
    "cpmant": _WRITTEN,
    "mpt": "is stopped by transformers' code on a bidirectional text without padding, so other tools could not run a saved encoder",
}
"""Families refused by name, because the fields of their config do not tell.

In the error, the reason follows the family's name.
"""

NOT_CAUSAL = {
    "cpmant": "shows some later tokens inside its layers' own code, whatever mask it is given"
}
"""Families that are refused as causal encoders too."""

_OTHER = {
    "blt": "reads bytes in learned patches, and does not have a state per token",
    "trocr": "the decoder half of an image reader",
    "gemma4_assistant": "a draft model that reads another model's states",
    "gemma4_unified_assistant": "a draft model that reads another model's states",
}

# Config fields that reveal layers other than attention: (pattern of the field, reason).
_STRUCTURE: tuple[tuple[str, str], ...] = (
    (r"mamba_\w+|ssm_\w+|\w+_mamba_\w+|state_size|time_step_rank", _RECURRENT),
    (r"linear_(num|conv|key|value|attn)\w*|short_conv_kernel_size", _LINEAR),
    (r"conv_L_cache|conv_kernel(_size)?|conv1d_width|number_of_conv_states", _CONVOLUTION),
)
_LAYERS: tuple[tuple[str, str], ...] = (
    (r"linear_attention", _LINEAR),
    (r"mamba\d?|ssm|recurrent\w*|rwkv|hybrid_mamba", _RECURRENT),
    (r"conv\w*|hybrid(_sliding)?", _CONVOLUTION),
    (
        r"\w*compressed\w*",
        "attends to compressed blocks of earlier tokens, so no token sees the later ones one by one",
    ),
)


@dataclass(frozen=True)
class FamilyRow:
    """One line of the table.

    Args:
        family: transformers' model type.
        verdict: "proven", "refused" (by `check_supported` as a bidirectional encoder), "failed"
            (tried but not proven) or "not a text decoder".
        execution: "packed" (the family runs plans itself) or "padded". It is empty if nothing ran.
        windows: True if sliding windows were lifted.
        needs_eager: True if a plain loader must be told `attn_implementation="eager"`.
        reason: why it is not proven, or a remark for users of the proven family.
        seconds: duration of the measurement.
    """

    family: str
    verdict: Verdict
    execution: str = ""
    windows: bool = False
    needs_eager: bool = False
    reason: str = ""
    seconds: float = 0.0


def check_supported(config: PretrainedConfig, direction: Direction = "bidirectional") -> None:
    """Refuse families that no attention mask makes bidirectional.

    Args:
        config: config of the model to convert. Its text config decides.
        direction: of the encoder. As a causal one, every family runs as it was trained.

    Raises:
        UnsupportedFamily: if the family is refused, with its name and the reason.
    """
    name = config.get_text_config().model_type
    if direction == "causal":
        if name in NOT_CAUSAL:
            raise UnsupportedFamily(f"{name} cannot be a causal encoder: it {NOT_CAUSAL[name]}")
        return
    reason = only_causal(config)
    if reason:
        instead = "; with direction causal it can become a causal encoder"
        raise UnsupportedFamily(
            f"{name} cannot be made bidirectional: it {reason}{'' if name in NOT_CAUSAL else instead}"
        )


def only_causal(config: PretrainedConfig) -> str | None:
    """Return why no attention mask makes a family bidirectional, or None if nothing is known.

    The reason follows the family's name, for example "has linear-attention layers, …".
    """
    text = config.get_text_config()
    return (
        REFUSED.get(text.model_type)
        or REFUSED.get(config.model_type)
        or _by_fields(text)
        or _by_layers(text)
    )


def _by_layers(config: PretrainedConfig) -> str | None:
    kinds: list[str] = []
    for field in (
        "layer_types",
        "layers_block_type",
        "layer_block_types",
        "block_types",
        "layers_types",
    ):
        value = getattr(config, field, None)
        if isinstance(value, (list, tuple)):
            kinds.extend(str(kind) for kind in value)
    return next(
        (reason for pattern, reason in _LAYERS for kind in kinds if re.fullmatch(pattern, kind)),
        None,
    )


def _by_fields(config: PretrainedConfig) -> str | None:
    fields = [name for name, value in vars(config).items() if value not in (None, False)]
    return next(
        (
            reason
            for pattern, reason in _STRUCTURE
            for name in fields
            if re.fullmatch(pattern, name)
        ),
        None,
    )


def measure_families(
    families: Sequence[str] | None = None,
    *,
    limit_s: float = 60.0,
    progress: bool | Callable[[FamilyRow], None] = False,
) -> list[FamilyRow]:
    """Measure families on small random models. All of them take a few minutes on one core.

    Args:
        families: model types, for example ["llama", "qwen3"]. If None, all that transformers
            registers for causal language modeling.
        limit_s: seconds that one family may take. It is enforced only in the main thread, because
            it needs an alarm signal.
        progress: True for a progress bar, or a function that gets each row as soon as it is known.

    Returns:
        One row per family, in the given order.

    Raises:
        InputError: if transformers does not register one of the names.
    """
    known = zoo.families()
    chosen = list(families or known)
    for name in chosen:
        if name not in known:
            hint = did_you_mean(name, known)
            raise InputError(
                f"families: {name!r} is not a model type that transformers registers for causal language modeling{hint}"
            )
    rows: list[FamilyRow] = []
    with (
        _silence(),
        Progress(
            "families", len(chosen), "families", show=None if progress is True else False
        ) as bar,
    ):
        for family in chosen:
            rows.append(_row(family, limit_s))
            bar.advance(1)
            if callable(progress):
                progress(rows[-1])
    return rows


def _row(family: str, limit_s: float) -> FamilyRow:
    start = time.perf_counter()
    found: dict[str, Any]
    try:
        with _time_limit(limit_s):
            found = _verdict(family)
    except Exception as error:  # of any kind: the table reports it and goes on
        message = " ".join(str(error).split())[:160]
        found = {"verdict": "failed", "reason": f"{type(error).__name__}: {message}"}
    return FamilyRow(family, **found, seconds=time.perf_counter() - start)


def _verdict(family: str) -> dict[str, Any]:
    from bothways.backbone.family.family_proof import (
        prove_as_causal,
        prove_encoder,
        prove_family,
    )

    other = _not_a_text_decoder(family)
    if other:
        return {"verdict": "not a text decoder", "reason": other}
    reason = only_causal(CONFIG_MAPPING[family]())
    if reason:
        found = prove_as_causal(family)
        return {**found, "verdict": "refused", "reason": f"{reason}; {found['reason']}"}
    if is_encoder_only(CONFIG_MAPPING[family]()):
        return {**prove_encoder(family), "verdict": "not a text decoder"}
    return prove_family(family)


def _not_a_text_decoder(family: str) -> str:
    if family in _OTHER:
        return _OTHER[family]
    kind = CONFIG_MAPPING[family]
    parts = set(getattr(kind, "sub_configs", {}))
    if parts & {
        "vision_config",
        "audio_config",
        "audio_encoder",
        "audio_encoder_config",
        "vq_config",
    }:
        return "several modalities: convert its text part"
    return "an encoder and a decoder" if getattr(kind(), "is_encoder_decoder", False) else ""


@contextmanager
def _silence() -> Iterator[None]:
    """Silence transformers' progress bars and warnings, which hundreds of models would cause."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread() or not hasattr(
        signal, "setitimer"
    ):
        yield
        return

    def expire(*_: object) -> None:
        raise TimeoutError(f"not finished after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def to_markdown(rows: Sequence[FamilyRow]) -> str:
    """Render docs/families.md: method, counts, proven families, and the others with reasons."""
    import torch
    import transformers

    proven = [row for row in rows if row.verdict == "proven"]
    versions = f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}"
    lines = [
        "# Families",
        "",
        "Generated by `make families`. You can print the same table with `bothways families`.",
        "",
        f"Measured with {versions} on a small random model of every family",
        f"that transformers registers for causal language modeling: **{len(proven)} proven**, {len(rows) - len(proven)} others,",
        "each with its reason.",
        "",
        "A family is proven if all of this holds in float32 and to 1e-5:",
        "",
        "- Every token of a text reacts to every other token of the text, and to no token of its neighbor.",
        '- With `direction="causal"` no token reacts to a later one, and the states are the original model\'s.',
        "- A text gives the same states packed, alone, and padded left or right through plain `AutoModel` on",
        "  the saved folder.",
        "- These states equal those of the untouched model under an explicit mask in which every token sees",
        "  every other.",
        "",
        "Execution *packed* means that the family runs attention plans itself. With *padded*, its attention",
        "does not go through transformers' interface, so it gets padded batches: slower, but with the same",
        'numbers. Loaders *eager* means that other loaders must pass `attn_implementation="eager"`.',
        "",
        "| family | execution | windows | loaders | remark |",
        "|---|---|---|---|---|",
    ]
    for row in proven:
        loaders = "eager" if row.needs_eager else "any"
        lines.append(
            f"| {row.family} | {row.execution} | {'lifted' if row.windows else '–'} | {loaders} | {_cell(row.reason)} |"
        )
    for verdict in ("refused", "failed", "not a text decoder"):
        chosen = [row for row in rows if row.verdict == verdict]
        if chosen:
            lines += ["", f"## {verdict.capitalize()} ({len(chosen)})", ""]
            if verdict == "refused":
                lines += [
                    'These cannot be made bidirectional. `--direction causal` makes causal encoders of them. "causal: proven"',
                    "says that no token reacts to a later one or to a neighbor, and that a text has the states of plain",
                    "`AutoModel`, packed, alone and padded right.",
                    "",
                ]
            lines += [
                "| family | execution | reason |",
                "|---|---|---|",
            ]
            lines += [f"| {row.family} | {row.execution} | {_cell(row.reason)} |" for row in chosen]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Print the table to standard output and the progress to standard error."""
    import sys

    import torch

    torch.set_num_threads(1)  # the models are too small for more

    def progress(row: FamilyRow) -> None:
        sys.stderr.write(
            f"{row.family:24} {row.verdict:20} {row.execution:8} {row.seconds:5.1f} s  {row.reason}\n"
        )

    sys.stdout.write(to_markdown(measure_families(progress=progress)))


if __name__ == "__main__":
    main()
