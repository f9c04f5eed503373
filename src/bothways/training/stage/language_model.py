"""A trained language model on disk: a plain transformers folder, which AutoModelForCausalLM loads and `convert` takes as a base.

    config.json, generation_config.json, model.safetensors, tokenizer.*    as any checkpoint; stretched positions are in the config
    bothways.json                                                          what only we read: the stages that made it

It stands apart from `finish`, which saves encoders: those have a pooling and no head, this has a head and no pooling. Where the family
ties its head to the input embeddings, the trained embeddings are both.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from bothways.atomic import atomic_folder
from bothways.backbone.adapter.adapter_files import MERGED
from bothways.backbone.hardware import resolve_dtype
from bothways.backbone.head import Head
from bothways.backbone.loading.checkpoints import quiet
from bothways.backbone.rope import with_older_names
from bothways.encoder.encoder import Encoder
from bothways.foreign import foreign, read_object
from bothways.provenance import versions

OURS = "bothways.json"
FORMAT = 1


def write_language_model(encoder: Encoder, head: Head, folder: Path, *, context: int, dtype: str) -> None:
    """Put decoder and head together and write them; the folder appears whole, in place of what stood there.

    Args:
        encoder: its backbone is the decoder, without adapter; used up.
        head: of the same model, loaded with the config that is to be written; used up.
        folder: where.
        context: tokens that it may read, for the tokenizer; under dynamic positions the config has another number.
        dtype: of the stored weights.

    Raises:
        UnsupportedFamily: the decoder is part of a larger model.
    """
    backbone: Any = encoder.backbone
    causal = head.join(backbone)
    causal.to(resolve_dtype(dtype, "cpu"))
    tokenizer = copy.deepcopy(encoder.tokenizer)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.model_max_length = context
    with atomic_folder(folder, replace=True) as part, quiet():
        causal.save_pretrained(part)
        tokenizer.save_pretrained(part)
        written = json.loads((part / "config.json").read_text(encoding="utf-8"))
        _write(part / "config.json", with_older_names(written))
        facts = {key: value for key, value in encoder.provenance.items() if key not in ("report", "versions")}
        _write(part / OURS, {**facts, "kind": "language model", "versions": versions(), "format": FORMAT})


def history(base: str) -> dict[str, Any]:
    """What the encoder made from a language model that was trained here inherits of its provenance: stages and origin.

    Empty for any other base.
    """
    place = Path(base).expanduser() / OURS
    if not place.is_file():
        return {}
    found = read_object(place)
    if found.get("kind") != "language model":
        return {}
    kept = {MERGED: found[MERGED]} if MERGED in found else {}
    with foreign(place, "is not what training wrote there", "train the language model again"):
        return {"stages": found["stages"], "origin": found.get("origin", found["base"]), **kept}


def _write(file: Path, value: Any) -> None:
    # a lone surrogate (of a file name) has no UTF-8 form; its escape is what JSON would write
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", errors="backslashreplace")
