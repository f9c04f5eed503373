"""Writes an encoder as a folder for vLLM or text-embeddings-inference.

It refuses encoders for which the server would give other vectors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bothways.attention.older_loaders import GUARD
from bothways.backbone.tokenizer.preparation import specials
from bothways.encoder.encoder import Encoder
from bothways.encoder.folder import pooling_module, template_module
from bothways.encoder.texts.wrapping import SLOT
from bothways.errors import InputError, UnsupportedFamily
from bothways.exports.as_llama import as_llama, with_parts
from bothways.exports.folders.st_folder import TYPES, check_target, length
from bothways.exports.manifest import write_manifest
from bothways.exports.reference import ReferenceRow, rows
from bothways.exports.servers.server_check import check_rules
from bothways.exports.servers.server_readme import command, readme
from bothways.exports.servers.server_rules import SERVERS, Family


def write_vllm(encoder: Encoder, folder: Path, name: str, dtype: str) -> None:
    """Write a folder for vLLM, see `write_folder`."""
    write_folder(encoder, folder, name, dtype, "vllm")


def write_tei(encoder: Encoder, folder: Path, name: str, dtype: str) -> None:
    """Write a folder for text-embeddings-inference, see `write_folder`."""
    write_folder(encoder, folder, name, dtype, "tei")


def write_folder(encoder: Encoder, folder: Path, name: str, dtype: str, target: str) -> None:
    """Write an encoder into an empty folder, in the form that a server runs in both directions.

    Args:
        encoder: encoder to write.
        folder: an empty folder.
        name: the model's name in the README.
        dtype: "f32" or "f16".
        target: a key of `SERVERS`.

    Raises:
        InputError: if the encoder is causal, or the server does not have a part of it.
        UnsupportedFamily: if the server would run the family causally, or not at all.
    """
    check_target(encoder, dtype, target)
    model_type, family = known(encoder, target, name)
    _refuse(encoder, target, model_type)
    reference: list[ReferenceRow] = rows(encoder)
    served = as_llama(encoder) if family.architecture is None else encoder
    served = with_parts(
        served,
        options=replace(
            served.options, prompts=_stored(served), default_prompt=None, pool_prompt=True
        ),
    )
    served.save(folder, dtype=TYPES[dtype])
    tokens = length(encoder, folder)
    _settings(encoder, folder, target, family)
    faults = [rule for rule in check_rules(folder, target, model_type) if not rule.ok]
    if faults:
        raise InputError(
            f"export to {SERVERS[target].title}: it needs {faults[0].rule}, but {faults[0].fault}"
        )
    (folder / "README.md").write_text(
        readme(encoder, name, target, family, tokens, reference, matryoshka(encoder)),
        encoding="utf-8",
    )
    write_manifest(
        folder,
        target,
        dtype,
        reference,
        loaders=["sentence-transformers"],
        trust_remote_code=False,
        commands={SERVERS[target].title: command(encoder, target, family, tokens)},
        rules=SERVERS[target].title,
        family=model_type,
        tokens=tokens,
    )


def known(encoder: Encoder, target: str, name: str) -> tuple[str, Family]:
    """Return the encoder's model type, and how the server runs it.

    Raises:
        UnsupportedFamily: if the server does not run it, or would run it causally.
    """
    server = SERVERS[target]
    kind = str(encoder.backbone.config.get_text_config().model_type)  # type: ignore[operator,union-attr]
    family = server.families.get(kind)
    if family is None:
        raise UnsupportedFamily(
            f"{name}: {kind} is refused for {target}; {server.refused.get(kind, server.otherwise)}"
        )
    return kind, family


def _refuse(encoder: Encoder, target: str, model_type: str) -> None:
    server = SERVERS[target]
    title, mode = f"export to {server.title}", str(encoder.pooling.mode)
    if (
        mode not in server.poolings
        or pooling_module.is_trained(encoder.pooling)
        or template_module.is_last_tokens(encoder)
    ):
        raise InputError(
            f"{title}: it does not have {mode} pooling; it has {', '.join(server.poolings)}"
        )
    if target == "tei" and model_type == "qwen3" and mode == "bos":
        raise InputError(
            f"{title}: it pads Qwen3 on the left and would pool padding as the first token; use mean or last pooling"
        )
    if encoder.options.wrapper.prefix or encoder.options.wrapper.suffix:
        raise InputError(
            f"{title}: the encoder puts a wrapper around every text, which the server does not"
        )
    if encoder.provenance.get("report", {}).get("kept_windows"):
        raise InputError(
            f"{title}: the encoder keeps sliding windows, which the server reads in one direction; convert with windows=lift"
        )
    if not encoder.options.pool_bos and specials(encoder.tokenizer).bos_added:
        raise InputError(
            f"{title}: the encoder does not pool BOS (pool_bos), and the server does; "
            "train with --option servable=true to pool it"
        )
    if getattr(encoder.pooling, "keep", None):
        raise InputError(
            f"{title}: the encoder cuts its vectors (truncate_dim), and the server does not"
        )


def _stored(encoder: Encoder) -> dict[str, str]:
    """Return the prompts that go before the text.

    Templates need code that servers do not run. The README lists them.
    """
    return {name: prompt for name, prompt in encoder.options.prompts.items() if SLOT not in prompt}


def _settings(encoder: Encoder, folder: Path, target: str, family: Family) -> None:
    file = folder / "config.json"
    values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if (
        target == "vllm"
    ):  # older releases of vLLM use transformers 4, and read the direction themselves
        values.pop(GUARD, None)
    dimensions = matryoshka(encoder)
    if dimensions:
        values |= {"is_matryoshka": True, "matryoshka_dimensions": dimensions}
    if target == "tei":
        values = _for_tei(values, family)
    _write(file, values)
    file = folder / "tokenizer_config.json"
    _write(
        file,
        {
            **json.loads(file.read_text(encoding="utf-8")),
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )


def _for_tei(values: dict[str, Any], family: Family) -> dict[str, Any]:
    """Fill in keys that TEI requires: numbers of special tokens, older names of positions."""
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if isinstance(values.get(key), list):
            values[key] = values[key][0]
    if values.get("pad_token_id") is None:
        values["pad_token_id"] = values.get("eos_token_id") or 0
    for key in ("bos_token_id", "eos_token_id"):
        if values.get(key) is None and key in family.numbers:
            values[key] = values["pad_token_id"]
    if (
        "use_sliding_window" in family.numbers
    ):  # the types of the layers still name a window that was lifted
        values |= {"use_sliding_window": False, "sliding_window": None}
        if "layer_types" in values:
            values["layer_types"] = ["full_attention"] * len(values["layer_types"])
    if "sliding_window" in family.numbers:
        values["sliding_window"] = values["max_position_embeddings"]
    if "rope_local_base_freq" in family.numbers:
        rope = values["rope_parameters"]
        values["rope_theta"] = rope["full_attention"]["rope_theta"]
        values["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        values["_sliding_window_pattern"] = _pattern(values["layer_types"])
    return values


def _pattern(kinds: list[str]) -> int:
    """Return the distance n between layers with full attention. TEI reads only this number.

    Raises:
        InputError: if the layers are in another order.
    """
    for every in range(1, len(kinds) + 2):
        if all(
            (kind == "full_attention") == ((place + 1) % every == 0)
            for place, kind in enumerate(kinds)
        ):
            return every
    raise InputError(
        f"export to TEI: every n-th layer must have full attention, but the layers are {', '.join(kinds)}"
    )


def matryoshka(encoder: Encoder) -> list[int]:
    """Return the widths that the encoder was trained for, smallest first.

    They are those of the last stage that names some.
    """
    for stage in reversed(encoder.provenance.get("stages", [])):
        objective = stage.get("objective") if isinstance(stage, Mapping) else None
        widths = objective.get("matryoshka") if isinstance(objective, Mapping) else None
        if widths:
            return sorted({int(width) for width in widths if int(width) <= encoder.dimension})
    return []


def _write(file: Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
