"""The ways to an encoder: `convert` makes one from a base LLM, `load` reads a finished one."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from bothways.attention.direction import set_direction
from bothways.attention.positions import usable_positions
from bothways.attention.probe import measure_execution
from bothways.attention.run import Execution
from bothways.backbone.adapter.adapter_files import MERGED, merged_in
from bothways.backbone.adapter.merging import adapter_rope, merge_saved
from bothways.backbone.family.families import check_supported
from bothways.backbone.hardware import resolve_device, resolve_dtype
from bothways.backbone.loading.hub import has_file, snapshot
from bothways.backbone.loading.sources import EXPORT, load_pretrained, resolve
from bothways.backbone.rope import RopeConfig, rope_overrides, say_further, trained_positions
from bothways.backbone.tokenizer.preparation import append_eos, prepend_bos
from bothways.config import Direction
from bothways.encoder.encoder import Encoder, EncoderOptions
from bothways.encoder.folder import head_modules
from bothways.encoder.tokenization import Wrapper
from bothways.errors import InputError
from bothways.foreign import foreign
from bothways.pooling import Pooling, PoolingConfig
from bothways.provenance import versions

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
        direction: "bidirectional" (every token sees every other) or "causal" (as the LLM was
            trained).
        pooling: "mean", "weighted_mean", "last" (or "eos"), "bos" (or "cls") or "max".
            "first_last_avg" (or "avg_first_last") is the mean over tokens of the first layer's and
            the last layer's states, see `attention.run.of_layers`. "latent_attention" and
            "self_attention" need training. To choose sizes, give a `PoolingConfig` or the same as a
            mapping, for example {"mode": "latent_attention", "latents": 64}.
        device: "auto", "cpu", "cuda", "cuda:0", "mps".
        dtype: "float32", "bfloat16", "float16" or "auto". If "auto", use bfloat16 if the device
            computes it, else float32.
        windows: "lift" removes sliding windows. "keep" leaves them and records that in
            `provenance`.
        max_length: tokens per text, never more than the model has positions for. If None, use all
            of these. If "auto", use the length that `rope` or the adapter reaches, or 512 as
            LLM2Vec does if positions are not stretched.
        pool_bos: pool the BOS token, if the tokenizer adds one.
        add_bos: put BOS before every text, if the tokenizer does not. The text sees it, and
            `pool_bos` decides if it is pooled.
        add_eos: put EOS after every text, if the tokenizer does not. It is pooled, and "last" then
            means EOS (NV-Embed).
        normalize: make `encode` return unit vectors by default.
        prompts: instructions by name, for example {"query": "Find: "}.
        default_prompt: name of the prompt for every text that has none of its own. It may be a bare
            special token. A decoder parks outlier activations on the first token of a document, and
            if that is a prompt's token, it is left out of the pool (docs/log.md).
        wrapper: (before, after) every input, for chat models. A third string separates instruction
            and text, for example ("[INST] ", " [/INST]", " ").
        seed: for the initial weights of a trained pooling.
        rope: position interpolation as a `RopeConfig` or the same as a mapping, for example
            {"context": 32768}. Fields you omit default to the adapter's training settings, or to
            linear interpolation without an adapter. If None, use the adapter's setting, then the
            base model's.
        adapter: folder or hub id of a PEFT adapter, which is merged into the base first.

    Raises:
        SourceError: the model cannot be found or reached.
        UnsupportedFamily: the model's layers cannot be made bidirectional. The message gives the
            reason.
        InputError: an argument cannot be used.
    """
    chosen = PoolingConfig.of(pooling)
    if adapter is not None:
        _check_unmerged(base, adapter)
    own = adapter_rope(adapter)
    if max_length == "auto":
        reached = own if rope is None else RopeConfig.of(rope)
        max_length = MAX_LENGTH if reached is None else reached.context
    _check(base, direction, windows, max_length, prompts or {}, wrapper)
    check_default_prompt(default_prompt, prompts or {})
    if chosen.mode == "bos" and not pool_bos:
        raise InputError("pool_bos: false leaves nothing to pool for pooling 'bos'; choose another pooling")
    place = resolve_device(device)
    kind = resolve_dtype(dtype, place)
    positions = _positions(base, direction, rope, own, adapter)
    # an adapter is added to float32 weights, not to rounded ones
    first = torch.float32 if adapter is not None else kind
    loaded = load_pretrained(base, dtype=first, device=place, config_overrides=positions or None)
    if adapter is not None:
        held = merge_saved(loaded.model, adapter, merged_in(base))
        loaded.model.to(kind)
    pool = chosen.build(int(loaded.model.config.get_text_config().hidden_size), seed=seed).to(place)
    execution, report = prepare(loaded.model, direction, windows)
    if add_bos:
        prepend_bos(loaded.tokenizer)
    if add_eos:
        append_eos(loaded.tokenizer)
    options = EncoderOptions(
        max_length=_limit(max_length, loaded.model),
        pool_bos=pool_bos,
        normalize=normalize,
        prompts=dict(prompts or {}),
        default_prompt=default_prompt,
        wrapper=Wrapper(*wrapper),
    )
    provenance = {"base": str(base), "source": loaded.source.kind, "stages": [], "report": report, "versions": versions()}
    if adapter is not None:
        provenance |= {"base_adapter": str(adapter), MERGED: held}
    return Encoder(
        loaded.model, loaded.tokenizer, pool, direction=direction, execution=execution, options=options, provenance=provenance
    ).eval()


def _positions(
    base: str | os.PathLike[str],
    direction: str,
    rope: Mapping[str, Any] | RopeConfig | None,
    own: RopeConfig | None,
    adapter: str | os.PathLike[str] | None,
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
        hint = "" if own is None else f"; {adapter} was trained with them, so train it again with rope linear or yarn"
        raise InputError(
            "rope.type: dynamic frequencies follow the longest text of a pass, so a text's vector would depend on the others; "
            f"use linear or yarn, or direction causal for a language model{hint}"
        )
    if rope is None:
        log.info("%s: was trained with positions for %d tokens (%s), so the base gets these", adapter, wish.context, kind)
    if own is not None and wish.context > own.context:
        say_further(adapter, own, wish)
    return fields


def _check(
    base: str | os.PathLike[str],
    direction: str,
    windows: str,
    max_length: int | None,
    prompts: Mapping[str, str],
    wrapper: Sequence[str],
) -> None:
    """Refuse wrong arguments before gigabytes are read."""
    from bothways.encoder.folder.write import MODULES

    for name, value, known in (("direction", direction, ("bidirectional", "causal")), ("windows", windows, ("lift", "keep"))):
        if value not in known:
            raise InputError(f"{name}: must be {known[0]!r} or {known[1]!r} (got {value!r})")
    if max_length is not None and max_length < 1:
        raise InputError(f"max_length: must be at least 1 token (got {max_length})")
    if isinstance(wrapper, str) or len(wrapper) > 3 or not all(isinstance(part, str) for part in wrapper):
        raise InputError(f"wrapper: must be (before, after) or (before, after, joint), each a string (got {wrapper!r})")
    for name, text in prompts.items():
        if not isinstance(text, str):
            raise InputError(f"prompts.{name}: must be a string (got {type(text).__name__})")
    if (Path(base).expanduser() / MODULES).is_file():
        raise InputError(f"{base}: is a finished encoder; use bothways.load")


def check_default_prompt(name: str | None, prompts: Mapping[str, str]) -> None:
    """Raise InputError if the default prompt is not the name of a stored prompt."""
    if name is not None and name not in prompts:
        raise InputError(
            f"default_prompt: {name!r} is not the name of a prompt (prompts has {', '.join(map(repr, prompts)) or 'none'})"
        )


def prepare(model: Any, direction: Direction, windows: str = "lift") -> tuple[Execution, dict[str, Any]]:
    """Switch a bare backbone to `direction`, and choose how it runs.

    Returns that choice and a report for provenance.

    Raises:
        UnsupportedFamily: the family has layers that no mask can turn.
    """
    check_supported(model.config)
    name = getattr(model, "name_or_path", "") or type(model).__name__
    with foreign(name, "cannot be run", "its config.json holds values that do not go together"):
        report = set_direction(model, direction, windows=windows)
        return measure_execution(model.eval()), report.as_dict()


def _limit(max_length: int | None, model: Any) -> int | None:
    own = usable_positions(model)
    return own if max_length is None else min(max_length, own or max_length)


def _check_unmerged(base: str | os.PathLike[str], adapter: str | os.PathLike[str]) -> None:
    """Raise InputError if a run's folder is the base and the adapter is already merged in it."""
    run = Path(base).expanduser().resolve()
    if (run / "bothways.json").is_file() and (run / "adapters") in Path(adapter).expanduser().resolve().parents:
        raise InputError(
            f"adapter: {adapter} is already merged in {base}; leave it out, or give the base that it was trained on"
        )


def load(
    folder: str | os.PathLike[str],
    *,
    adapter: str | os.PathLike[str] | None = None,
    base: str | os.PathLike[str] | None = None,
    pooling: str | Mapping[str, Any] | PoolingConfig | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
) -> Encoder:
    """Load a finished encoder.

    The folder may be one of ours, a sentence-transformers folder over a decoder, an adapter of
    ours, or a published LLM2Vec folder.

    Args:
        folder: local folder or hub id.
        adapter: folder or hub id of an adapter to merge as well, for example LLM2Vec's second one
            (SimCSE or supervised). You can also name the run of ours that kept it.
        base: the base model of a folder that holds an adapter (ours, sentence-transformers' or
            LLM2Vec's). Only needed if the base that the adapter names cannot be reached.
        pooling: read the same states with another pooling, as SimCSE and LLM2Vec do to compare
            poolings at test. It must have no parameters, for example "first_last_avg". If None, use
            the encoder's own.
        device: see `convert`.
        dtype: see `convert`. With "float32" or the stored type, the weights are the stored ones bit
            by bit.

    Raises:
        InputError: the folder holds no encoder (use `convert` for a base LLM), or one with modules
            that cannot be read. Also if `pooling` needs training, or would replace a pooling that
            was trained.
        SourceError: the folder does not exist, or the hub cannot be reached.
    """
    chosen = None if pooling is None else PoolingConfig.of(pooling)
    if chosen is not None and chosen.trained:
        raise InputError(
            f"pooling: {chosen.mode} needs training, so a finished encoder cannot take it; train one with it, starting from "
            f"{folder}"
        )
    encoder = _load(folder, adapter, base, resolve_device(device), dtype)
    if chosen is not None:
        _change_pooling(encoder, chosen, folder)
    return encoder


def _change_pooling(encoder: Encoder, chosen: PoolingConfig, folder: str | os.PathLike[str]) -> None:
    """Replace the pooling of an encoder.

    Raises:
        InputError: the encoder's own pooling or a layer behind it was trained, or nothing would be
            left to pool.
    """
    own: Any = encoder.pooling
    behind = " and ".join(head_modules.names(own))
    if behind or any(True for _ in own.parameters()):
        trained = f"{behind} behind it" if behind else "its parameters"
        raise InputError(
            f"pooling: {folder} was trained with {own.mode} pooling and {trained}, so no other pooling fits it; leave pooling out"
        )
    if chosen.mode == "bos" and not encoder.options.pool_bos:
        raise InputError(f"pooling: {folder} does not pool BOS, but 'bos' reads nothing else; choose another pooling")
    keep, pooling = getattr(own, "keep", None), chosen.build(encoder.hidden_size)
    if isinstance(pooling, Pooling):
        pooling.from_start = getattr(getattr(own, "inner", own), "from_start", False)
    encoder.pooling = pooling if keep is None else head_modules.Headed(pooling, [], width=encoder.hidden_size, keep=keep)


def _load(
    folder: str | os.PathLike[str],
    adapter: str | os.PathLike[str] | None,
    base: str | os.PathLike[str] | None,
    place: torch.device,
    dtype: str | torch.dtype,
) -> Encoder:
    """Read a finished encoder. See `load`."""
    from bothways.encoder.folder import llm2vec as llm2vec_folder
    from bothways.encoder.folder import read as reading
    from bothways.encoder.folder import write as storage

    path = local_folder(folder)
    kind = resolve_dtype(dtype, place)
    if llm2vec_folder.is_llm2vec(path) and not (path / storage.MODULES).exists():
        return llm2vec_folder.load(path, adapter=adapter, base=base, device=place, dtype=kind)
    if (path / storage.MODULES).exists() and adapter is not None:
        return llm2vec_folder.add(reading.load(path, device=place, dtype=torch.float32, base=base), adapter, path, kind)
    if adapter is not None:
        raise InputError(
            f"adapter: only valid for encoders, and {folder} is not one; bothways.convert merges an adapter into a base"
        )
    if (path / storage.MODULES).exists():
        return reading.load(path, device=place, dtype=kind, base=base)
    if base is not None:
        raise InputError(f"base: only valid for adapters and LLM2Vec folders, and {folder} has weights of its own")
    if (path / llm2vec_folder.ADAPTER).exists():
        raise InputError(
            f"{folder}: a PEFT adapter, not an encoder, because it does not name a pooling; make an encoder with "
            f"bothways.convert(base, adapter={str(folder)!r})"
        )
    if is_exported_graph(path):
        raise InputError(
            f"{folder}: is an export, which only encodes; open it with bothways.load, and give its encoder elsewhere"
        )
    if (path / "config.json").exists():
        raise InputError(f"{folder}: a base model, not an encoder; use bothways.convert, or train one first")
    raise InputError(f"{folder}: no encoder here (neither {storage.MODULES} nor {llm2vec_folder.CONFIG} exists)")


def is_encoder(name: str | os.PathLike[str]) -> bool:
    """Return whether `name` is a finished encoder (for `load`) and not a base (for `convert`)."""
    from bothways.encoder.folder import llm2vec as llm2vec_folder
    from bothways.encoder.folder import write as storage

    files = (storage.MODULES, llm2vec_folder.CONFIG, llm2vec_folder.ADAPTER)
    folder = Path(name).expanduser()
    if is_exported_graph(folder):
        return True
    # Check this before `resolve`, because an adapter folder is not a model folder.
    if any((folder / file).is_file() for file in files):
        return True
    source = resolve(name)
    return source.kind == "hub" and any(has_file(source, file) for file in files)


def is_exported_graph(folder: Path) -> bool:
    """Return whether a folder is an export that `bothways.load` opens.

    A model's folder is not, and neither is one with a .gguf file.
    """
    return (folder / EXPORT).is_file() and not (folder / "config.json").is_file() and not any(folder.glob("*.gguf"))


def local_folder(folder: str | os.PathLike[str]) -> Path:
    """Return the folder itself, or the snapshot of a hub id."""
    if Path(folder).expanduser().is_dir():
        return Path(folder).expanduser()
    source = resolve(folder)
    if source.kind != "hub":
        raise InputError(f"{folder}: a base model, not an encoder; use bothways.convert")
    return snapshot(source)
