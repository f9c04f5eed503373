"""Opens the model of `bothways evaluate`: an encoder, BM25, or a base LLM with its head.

A sentence-transformers folder can have modules without an equivalent in our encoder (static
embeddings, a Dense layer). sentence-transformers itself runs such a folder, so that you can compare
with models that are not ours.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bothways.cli.options import open_encoder
from bothways.encoder.foreign_encoder import has_code, is_foreign, open_sentence_transformer
from bothways.errors import InputError, UnsupportedFamily

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from bothways.backbone.loading.model_source import Source
    from bothways.backbone.rope import RopeConfig
    from bothways.encoder.encoder import Encoder
    from bothways.evaluation.language_model.language_model import CausalLM
    from bothways.evaluation.task import Task
    from bothways.search.bm25_ranker import BM25

    Evaluated = Encoder | SentenceTransformer | CausalLM | BM25

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
) -> Evaluated:
    """Open the model that a user names.

    A base is opened as a language model if all tasks measure one and no option asks for an encoder.
    In a mixed list it is one encoder for all tasks. A causal encoder also measures perplexity. A
    bidirectional one does not, so the list is refused before anything is measured.

    Args:
        name: "bm25", an encoder folder, or a base model.
        tasks: the tasks that it will be measured on.
        device: for example "cpu" or "cuda:0", or "auto".
        dtype: "auto", "float32", "bfloat16" or "float16".
        direction: "bidirectional" or "causal", only for a base. If None, bidirectional.
        pooling: a mode of `bothways.pooling`. If None, mean for a base, else the encoder's own.
        rope: how positions are stretched, only for a language model.

    Raises:
        InputError: if a task measures a language model and the encoder is bidirectional, if `rope`
            is given for an encoder or does not fit the base, and as `open_encoder` does.
    """
    from bothways.backbone.loading.model_source import locate
    from bothways.encoder.load import is_encoder
    from bothways.evaluation.language_model.language_model import load_language_model
    from bothways.evaluation.language_model.language_task import LanguageModelTask
    from bothways.search.bm25_ranker import BM25

    of_language = [task for task in tasks if isinstance(task, LanguageModelTask)]
    source = None if name == "bm25" else locate(name)
    base = source is not None and not is_encoder(source)
    for_encoders = direction not in (None, "causal") or pooling is not None
    if source is not None and base and not for_encoders and len(of_language) == len(tasks):
        return load_language_model(source, device=device, dtype=dtype, rope=rope)
    if rope is not None:
        raise InputError(
            f"--context {rope.context}: only for a base that every task measures as a language model (perplexity, passkey, "
            "topics); an encoder gets its context from convert or training"
        )
    if source is None:
        return BM25()
    if base and of_language and direction != "causal":
        raise InputError(
            f"task {of_language[0].name!r}: measures a language model, but the other tasks and options make {name} a "
            "bidirectional encoder; run this task in a command of its own, or use --direction causal for all"
        )
    encoder = _open(source, device=device, dtype=dtype, direction=direction, pooling=pooling)
    if of_language and getattr(encoder, "direction", None) != "causal":
        raise InputError(
            f"task {of_language[0].name!r}: measures a language model, and {name} is not a causal one; name its base LLM"
        )
    return encoder


def _open(
    name: Source, *, device: str, dtype: str, direction: str | None, pooling: str | None
) -> Encoder | SentenceTransformer:
    """Open our encoder, or a SentenceTransformer for a folder with modules that ours cannot run."""
    try:
        return open_encoder(name, device=device, dtype=dtype, direction=direction, pooling=pooling)
    except (InputError, UnsupportedFamily) as error:
        if (
            direction is not None
            or pooling is not None
            or not is_foreign(name)
            or has_code(Path(name))
        ):
            raise
        try:
            model = open_sentence_transformer(name, device=device, dtype=dtype)
        except Exception:  # the first error is the one that names the file
            raise error from None
        log.info("%s: run by sentence-transformers (%s)", name, error)
        return model


def cut_texts(model: Evaluated, tokens: int) -> None:
    """Make an encoder read at most `tokens` of a text. Its fingerprint changes with this.

    Raises:
        InputError: for BM25, a language model or an encoder of static vectors, which do not have
            such a limit.
    """
    from bothways.encoder.encoder import Encoder

    if isinstance(model, Encoder):
        model.options.max_length = tokens
        return
    if hasattr(model, "max_seq_length"):
        with contextlib.suppress(AttributeError):  # modules that always read the whole text
            model.max_seq_length = tokens
    if getattr(model, "max_seq_length", None) != tokens:
        raise InputError(
            f"--max-length {tokens}: only for an encoder with a limit, and {type(model).__name__} here does not have one"
        )


def compare_by(model: Evaluated, similarity: str) -> None:
    """Make all tasks compare an encoder's vectors by a similarity, as if its folder said so.

    Its fingerprint changes with this. A task's own `similarity=` still wins.

    Raises:
        InputError: if the similarity is unknown, or for BM25 or a language model.
    """
    from bothways.encoder.encoder import Encoder
    from bothways.similarity_names import check_similarity

    kind = check_similarity(similarity)
    if isinstance(model, Encoder):
        model.options.similarity = kind or "cosine"
    elif hasattr(model, "similarity_fn_name"):
        model.similarity_fn_name = kind
    else:
        raise InputError(
            f"--similarity {similarity}: only for an encoder, and {type(model).__name__} does not make vectors"
        )


def pictures(task: Task | None, details: dict[str, Any]) -> list[str]:
    """Return lines that show a result better than its numbers do.

    Most tasks do not have such lines. If the task is None, there are none either.
    """
    from bothways.evaluation.language_model.language_task import LanguageModelTask

    return task.picture(details) if isinstance(task, LanguageModelTask) else []
