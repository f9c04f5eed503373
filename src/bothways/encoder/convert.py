"""Makes an untrained encoder from a base LLM. `encoder.load` reads a finished one."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from bothways.attention.positions import usable_positions
from bothways.attention.text_config import state_width
from bothways.backbone.adapter.adapter_files import MERGED, merged_in
from bothways.backbone.adapter.merging import adapter_rope, find_adapter, merge_saved
from bothways.backbone.hardware import resolve_device, resolve_dtype
from bothways.backbone.loading.model_source import Source, locate
from bothways.backbone.loading.sources import Pretrained, load_pretrained
from bothways.backbone.rope import RopeConfig, rope_overrides, say_further, trained_positions
from bothways.backbone.tokenizer.preparation import append_eos, prepend_bos
from bothways.config import Direction
from bothways.encoder.encoder import Encoder, EncoderOptions
from bothways.encoder.prepare_backbone import prepare
from bothways.encoder.texts.wrapping import Wrapper
from bothways.errors import InputError
from bothways.folder_files import MODULES, OURS
from bothways.moved import old_names
from bothways.nearest import did_you_mean
from bothways.pooling import PoolingConfig
from bothways.provenance import versions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger("bothways")

# Tokens that LLM2Vec uses in training and evaluation (arXiv 2404.05961, released configurations).
MAX_LENGTH = 512


def convert(
    base: str | os.PathLike[str],
    *,
    direction: Direction = "bidirectional",
    pooling: str | Mapping[str, Any] | PoolingConfig = "mean",
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    windows: str = "lift",
    max_length: int | Literal["auto"] | None = "auto",
    pool_bos: bool = True,
    pool_prompt: bool = False,
    add_bos: bool = False,
    add_eos: bool = False,
    normalize: bool = False,
    prompts: dict[str, str] | None = None,
    default_prompt: str | None = None,
    wrapper: tuple[str, ...] = (),
    seed: int = 0,
    rope: Mapping[str, Any] | RopeConfig | None = None,
    adapter: str | os.PathLike[str] | None = None,
) -> Encoder:
    """Make an untrained text encoder from a base LLM.

    For example, `convert("smollm2-135m", pooling="last", prompts={"query": "Find: "})`.

    Args:
        base: hub id, local folder, .gguf file, or embedded name ("smollm2-135m").
        direction: "bidirectional" (every token sees every other) or "causal" (as in training).
        pooling: a name, for example "mean", "last" or "first_last_avg" (see `pooling.pool`). To
            choose sizes, give a `PoolingConfig` or the same as a mapping, for example
            {"mode": "latent_attention", "latents": 64}.
        device: "auto", "cpu", "cuda", "cuda:0", "mps".
        dtype: "float32", "bfloat16", "float16" or "auto", see `hardware.auto_dtype`.
        windows: "lift" removes sliding windows. "keep" leaves them, as `provenance` then says.
        max_length: tokens per text, at most those that the model has positions for. If None, all of
            these. If "auto", the length that `rope` or the adapter reaches, else 512 as LLM2Vec.
        pool_bos: pool the BOS token, if there is one.
        pool_prompt: pool the tokens of a prompt too, as servers do.
        add_bos: put BOS before every text, if the tokenizer does not.
        add_eos: put EOS after every text, if the tokenizer does not. It is pooled, and "last" then
            means EOS (NV-Embed).
        normalize: make `encode` return unit vectors by default.
        prompts: instructions by name, for example {"query": "Find: "}.
        default_prompt: name of the prompt for texts without one, see `EncoderOptions`.
        wrapper: (before, after) every input, for chat models. A third string separates instruction
            and text, for example ("[INST] ", " [/INST]", " ").
        seed: for the initial weights of a trained pooling.
        rope: position interpolation, for example {"context": 32768}. Fields that you omit are the
            adapter's, or linear interpolation. If None, use the adapter's, then the base's.
        adapter: folder or hub id of a PEFT adapter, which is merged into the base first.

    Raises:
        SourceError: the model cannot be found or reached.
        UnsupportedFamily: the model's layers cannot be made bidirectional. The message says why.
        InputError: an argument cannot be used.
    """
    chosen, source = PoolingConfig.of(pooling), locate(base)
    found = None if adapter is None else _unmerged(source, adapter)
    own = adapter_rope(found)
    length = _length(max_length, own if rope is None else RopeConfig.of(rope))
    _check(source, direction, windows, length, prompts or {}, wrapper)
    options = EncoderOptions(
        max_length=length,
        pool_bos=pool_bos,
        pool_prompt=pool_prompt,
        normalize=normalize,
        prompts=dict(prompts or {}),
        default_prompt=default_prompt,
        wrapper=Wrapper(*wrapper),
    )
    _check_options(options, chosen)
    place = resolve_device(device)
    positions = _positions(source, direction, rope, own, found)
    loaded, provenance = _load_base(source, found, place, resolve_dtype(dtype, place), positions)
    if add_bos:
        prepend_bos(loaded.tokenizer)
    if add_eos:
        append_eos(loaded.tokenizer)
    return _assemble(loaded, chosen, seed, direction, windows, options, provenance)


def _length(max_length: int | Literal["auto"] | None, reached: RopeConfig | None) -> int | None:
    if max_length != "auto":
        return max_length
    return MAX_LENGTH if reached is None else reached.context


def _load_base(
    base: Source,
    adapter: Source | None,
    place: torch.device,
    kind: torch.dtype,
    positions: dict[str, Any],
) -> tuple[Pretrained, dict[str, Any]]:
    """Load the base and merge the adapter. Return it with the beginning of the provenance."""
    # an adapter is added to float32 weights, not to rounded ones
    first = torch.float32 if adapter is not None else kind
    loaded = load_pretrained(base, dtype=first, device=place, config_overrides=positions or None)
    provenance: dict[str, Any] = {
        "base": str(base),
        "source": loaded.source.kind,
        "stages": [],
        "versions": versions(),
    }
    if adapter is not None:
        provenance |= {
            "base_adapter": str(adapter),
            MERGED: merge_saved(loaded.model, adapter, merged_in(base)),
        }
        loaded.model.to(kind)
    return loaded, provenance


def _assemble(
    loaded: Pretrained,
    pooling: PoolingConfig,
    seed: int,
    direction: Direction,
    windows: str,
    options: EncoderOptions,
    provenance: dict[str, Any],
) -> Encoder:
    """Build the pooling, prepare the backbone, and put the encoder together."""
    model: Any = loaded.model
    pool = pooling.build(state_width(model), seed=seed).to(model.device)
    execution, report = prepare(model, direction, windows)
    options.max_length = _limit(options.max_length, model)
    provenance["report"] = report
    return Encoder(
        model,
        loaded.tokenizer,
        pool,
        direction=direction,
        execution=execution,
        options=options,
        provenance=provenance,
    ).eval()


def _check_options(options: EncoderOptions, pooling: PoolingConfig) -> None:
    """Raise InputError if options contradict each other or the pooling."""
    check_default_prompt(options.default_prompt, options.prompts)
    if pooling.mode == "bos" and not options.pool_bos:
        raise InputError(
            "pool_bos: false leaves nothing to pool for pooling 'bos'; choose another pooling"
        )


def _positions(
    base: Source,
    direction: str,
    rope: Mapping[str, Any] | RopeConfig | None,
    own: RopeConfig | None,
    adapter: Source | None,
) -> dict[str, Any]:
    """Find the config fields of the positions that the caller or the adapter asks for.

    Returns an empty mapping if nothing changes.

    Raises:
        InputError: dynamic positions for a bidirectional encoder, or an error of
            `trained_positions` or `rope_overrides`.
    """
    wish = own if rope is None else trained_positions(rope, own, adapter)
    if wish is None:
        return {}
    fields = rope_overrides(base, wish)
    kind = fields["rope_parameters"]["rope_type"] if fields else wish.type
    if kind == "dynamic" and direction == "bidirectional":
        hint = (
            ""
            if own is None
            else f"; {adapter} was trained with them, so train it again with rope linear or yarn"
        )
        raise InputError(
            "rope.type: dynamic frequencies follow the longest text of a pass, so a text's vector would depend on the others; "
            f"use linear or yarn, or direction causal for a language model{hint}"
        )
    if rope is None:
        log.info(
            "%s: was trained with positions for %d tokens (%s), so the base gets these",
            adapter,
            wish.context,
            kind,
        )
    if own is not None and wish.context > own.context:
        say_further(adapter, own, wish)
    return fields


def _check(
    base: Source,
    direction: str,
    windows: str,
    max_length: int | None,
    prompts: Mapping[str, str],
    wrapper: Sequence[str],
) -> None:
    """Refuse wrong arguments before gigabytes are read."""
    for name, value, known in (
        ("direction", direction, ("bidirectional", "causal")),
        ("windows", windows, ("lift", "keep")),
    ):
        if value not in known:
            raise InputError(
                f"{name}: must be {known[0]!r} or {known[1]!r} (got {value!r}){did_you_mean(value, known)}"
            )
    if max_length is not None and max_length < 1:
        raise InputError(f"max_length: must be at least 1 token (got {max_length})")
    if (
        isinstance(wrapper, str)
        or len(wrapper) > 3
        or not all(isinstance(part, str) for part in wrapper)
    ):
        raise InputError(
            f"wrapper: must be (before, after) or (before, after, joint), each a string (got {wrapper!r})"
        )
    for name, text in prompts.items():
        if not isinstance(text, str):
            raise InputError(f"prompts.{name}: must be a string (got {type(text).__name__})")
    if base.kind in ("folder", "hub") and base.holds(MODULES):
        raise InputError(f"{base}: is a finished encoder; use bothways.load")


def check_default_prompt(name: str | None, prompts: Mapping[str, str]) -> None:
    """Raise InputError if the default prompt is not the name of a stored prompt."""
    if name is not None and name not in prompts:
        raise InputError(
            f"default_prompt: {name!r} is not the name of a prompt (prompts has {', '.join(map(repr, prompts)) or 'none'})"
        )


def _limit(max_length: int | None, model: PreTrainedModel) -> int | None:
    own = usable_positions(model)
    return own if max_length is None else min(max_length, own or max_length)


def _unmerged(base: Source, adapter: str | os.PathLike[str]) -> Source:
    """Find an adapter.

    Raises:
        InputError: a run's folder is the base, and the adapter is already merged in it.
    """
    run = Path(base).resolve()
    if (run / OURS).is_file() and (run / "adapters") in Path(
        adapter
    ).expanduser().resolve().parents:
        raise InputError(
            f"adapter: {adapter} is already merged in {base}; leave it out, or give the base that it was trained on"
        )
    return find_adapter(adapter)


__getattr__ = old_names(__name__)
