"""Writes a trained language model: a plain transformers folder.

    config.json, model.safetensors, tokenizer.*, …   as any checkpoint, with its new positions
    bothways.json                                    the stages that made it, for bothways only

AutoModelForCausalLM loads it, and `convert` takes it as a base. If the family ties its head to the
input embeddings, the trained embeddings are both.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

from bothways.atomic import atomic_folder
from bothways.backbone.adapter.adapter_files import MERGED
from bothways.backbone.hardware import resolve_dtype
from bothways.backbone.head import Head
from bothways.backbone.loading.checkpoint_loading import silenced
from bothways.backbone.rope import with_older_names
from bothways.encoder.encoder import Encoder
from bothways.folder_files import OURS
from bothways.foreign import foreign, read_object
from bothways.provenance import versions

FORMAT = 1


def write_language_model(
    encoder: Encoder, head: Head, folder: Path, *, context: int, dtype: str
) -> None:
    """Join decoder and head, and write them as one folder, which replaces an older one.

    Args:
        encoder: its backbone is the decoder, without adapter. It must not be used afterwards.
        head: of the same model, loaded with the config that is to be written. It must not be used
            afterwards.
        folder: folder to write.
        context: maximum number of tokens, for the tokenizer. Under dynamic positions the config has
            another number.
        dtype: type of the stored weights.

    Raises:
        UnsupportedFamily: if the decoder is part of a larger model.
    """
    backbone: Any = encoder.backbone
    causal = head.join(backbone)
    causal.to(resolve_dtype(dtype, "cpu"))
    tokenizer = copy.deepcopy(encoder.tokenizer)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.model_max_length = context
    with atomic_folder(folder, replace=True) as part, silenced():
        causal.save_pretrained(part)
        tokenizer.save_pretrained(part)
        written = json.loads((part / "config.json").read_text(encoding="utf-8"))
        _write(part / "config.json", with_older_names(written))
        facts = {
            key: value
            for key, value in encoder.provenance.items()
            if key not in ("report", "versions")
        }
        _write(
            part / OURS,
            {**facts, "kind": "language model", "versions": versions(), "format": FORMAT},
        )


def history(base: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the provenance that a language model trained here passes on: its stages and its origin.

    The result is empty for any other base.
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


def _write(file: Path, value: object) -> None:
    # A lone surrogate (of a file name) has no UTF-8 form. Write its escape, as JSON would.
    file.write_text(
        json.dumps(value, indent=2, ensure_ascii=False) + "\n",
        encoding="utf-8",
        errors="backslashreplace",
    )
