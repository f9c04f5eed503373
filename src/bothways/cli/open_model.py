"""What `bothways evaluate` evaluates: an encoder, BM25, or, where every task measures a language model, the base with its head.

A sentence-transformers folder with modules that our encoder has no equivalent for (static embeddings, a Dense layer) is run by
sentence-transformers itself: to be compared with, a model need not be one of ours.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bothways.cli.options import open_encoder
from bothways.errors import InputError, UnsupportedFamily

if TYPE_CHECKING:
    from bothways.backbone.rope import RopeConfig
    from bothways.evaluation.task import Task

log = logging.getLogger("bothways")


def open_evaluated(
    name: str,
    tasks: Sequence[Task],
    *,
    device: str,
    dtype: str,
    direction: str | None = None,
    pooling: str | None = None,
    rope: RopeConfig | None = None,
) -> Any:
    """The object that `evaluate` gets for what a user names.

    A base is opened as a language model when all tasks want one and nothing asks for an encoder. In a mixed list it is one encoder for
    all tasks, which measures perplexity too when its direction is causal; otherwise the list is refused before anything is measured.
    Positions are stretched by `rope` for a language model only.

    Raises:
        InputError: a task that measures a language model, for a bidirectional encoder; `rope` for an encoder, or for positions that
            cannot be stretched; and see `open_encoder`.
    """
    from bothways.encoder.convert import is_encoder
    from bothways.evaluation.language_model.language_model import load_language_model
    from bothways.evaluation.language_model.language_task import LanguageModelTask
    from bothways.search.bm25_ranker import BM25

    of_language = [task for task in tasks if isinstance(task, LanguageModelTask)]
    base = name != "bm25" and not is_encoder(name)
    if base and direction in (None, "causal") and pooling is None and len(of_language) == len(tasks):
        return load_language_model(name, device=device, dtype=dtype, rope=rope)
    if rope is not None:
        raise InputError(
            f"--context {rope.context}: only for a base that every task measures as a language model (perplexity, passkey, topics); an "
            "encoder gets its context from convert or training"
        )
    if name == "bm25":
        return BM25()
    if base and of_language and direction != "causal":
        raise InputError(
            f"task {of_language[0].name!r}: measures a language model, and {name} would be opened as a bidirectional encoder for the "
            "other tasks and options; give it a command of its own, or --direction causal for all"
        )
    encoder = _open(name, device=device, dtype=dtype, direction=direction, pooling=pooling)
    if of_language and getattr(encoder, "direction", None) != "causal":
        raise InputError(
            f"task {of_language[0].name!r}: measures a language model, and {name} is no causal one; name its base LLM"
        )
    return encoder


def _open(name: str, *, device: str, dtype: str, direction: str | None, pooling: str | None) -> Any:
    """Our encoder; a SentenceTransformer where a folder in its layout holds what ours cannot run."""
    try:
        return open_encoder(name, device=device, dtype=dtype, direction=direction, pooling=pooling)
    except (InputError, UnsupportedFamily) as error:
        if direction is not None or pooling is not None or not _is_foreign(name) or _brings_code(Path(name).expanduser()):
            raise
        try:
            model = _sentence_transformer(name, device=device, dtype=dtype)
        except Exception:  # whatever it says, the first reason is the one that names the file
            raise error from None
        log.info("%s: run by sentence-transformers (%s)", name, error)
        return model


def _is_foreign(name: str) -> bool:
    """Whether this is a sentence-transformers folder that bothways did not write."""
    from bothways.backbone.loading.hub import has_file
    from bothways.backbone.loading.sources import resolve
    from bothways.encoder.folder.write import MODULES, OURS

    folder = Path(name).expanduser()
    if folder.is_dir():
        return (folder / MODULES).is_file() and not (folder / OURS).is_file()
    source = resolve(name)
    return source.kind == "hub" and has_file(source, MODULES) and not has_file(source, OURS)


def _brings_code(folder: Path) -> bool:
    """Whether a local folder names module types outside sentence-transformers, whose code some of its versions run without being asked.

    Releases before trust_remote_code was asked for in folders (5.2) run it. What is on the hub is never run without it.
    """
    if not folder.is_dir():
        return False
    from bothways.encoder.folder.head_modules import STOCK
    from bothways.encoder.folder.write import MODULES
    from bothways.foreign import read_json

    found: list[Any] = []
    for file in [folder / MODULES, *sorted(folder.glob("**/router_config.json"))]:
        held = read_json(file)
        listed = (
            held if isinstance(held, list) else list((held.get("types") or {}).values()) if isinstance(held, dict) else [None]
        )
        found += [module.get("type") if isinstance(module, dict) else module for module in listed]
    return not all(isinstance(kind, str) and kind.startswith(STOCK) for kind in found)


def _sentence_transformer(name: str, *, device: str, dtype: str) -> Any:
    from sentence_transformers import SentenceTransformer

    from bothways.backbone.hardware import resolve_device, resolve_dtype

    place = resolve_device(device)
    folder = Path(name).expanduser()
    model = SentenceTransformer(
        str(folder) if folder.is_dir() else name, device=str(place), model_kwargs={"dtype": resolve_dtype(dtype, place)}
    )
    # where results look for a SentenceTransformer's name
    model.model_card_data.base_model = model.model_card_data.base_model or name
    return model


def cut_texts(model: Any, tokens: int) -> None:
    """Have an encoder read at most `tokens` of a text, which its fingerprint then tells.

    Raises:
        InputError: BM25, a language model or an encoder of static vectors, which have no such limit.
    """
    from bothways.encoder.encoder import Encoder

    if isinstance(model, Encoder):
        model.options.max_length = tokens
        return
    if hasattr(model, "max_seq_length"):
        with contextlib.suppress(AttributeError):  # of modules that read all of a text, whatever they are told
            model.max_seq_length = tokens
    if getattr(model, "max_seq_length", None) != tokens:
        raise InputError(f"--max-length {tokens}: only for an encoder with a limit; {type(model).__name__} here has none")


def pictures(task: Task | None, details: dict[str, Any]) -> list[str]:
    """Lines that show a task's result better than its numbers do; none for most tasks, and for one not at hand."""
    from bothways.evaluation.language_model.language_task import LanguageModelTask

    return task.picture(details) if isinstance(task, LanguageModelTask) else []
