"""Brings an index up to date with its sources: encodes new texts, keeps known ones, removes others.

A text is known by the digest of its content. One that moved to another file or row gets its new
place, and its vectors are copied. Texts are added in batches, and removed at the end. So after a
stop at any moment the same command goes on with the texts that are missing.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from bothways.data.text.documents import iter_documents
from bothways.data.text.readers import Places, iter_texts
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.indexing import places
from bothways.indexing.index_model import dtype_of, identity, model_name, open_model
from bothways.indexing.index_rows import digest_of, document_name
from bothways.indexing.searching import Index
from bothways.indexing.settings import IndexSettings
from bothways.indexing.sign_search import check_precision
from bothways.indexing.store import shown
from bothways.indexing.update import Read, Update
from bothways.printable import utf8_name
from bothways.progress import Progress
from bothways.provenance import versions
from bothways.search.quantized import NONE, Quantization
from bothways.similarity_names import Similarity, similarity_name

log = logging.getLogger("bothways")

Others = Literal["keep", "drop"]


def index(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    model: str | os.PathLike[str] | Encoder,
    to: str | os.PathLike[str],
    chunks: int | Literal["sentences"] | None = None,
    column: str | None = None,
    unit: Literal["line", "document"] | None = None,
    prompt: str | None = None,
    prompt_name: str | None = None,
    query_prompt: str | None = None,
    truncate_dim: int | None = None,
    pooling: str | None = None,
    similarity: Similarity | None = None,
    approximate: bool = False,
    quantization: Quantization | None = None,
    others: Others | None = None,
    batch_tokens: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    show_progress_bar: bool | None = None,
) -> Index:
    """Make an index of texts, or bring it up to date with them.

    For example, `index("notes/", model="runs/mine", to="notes.index").search("a question")`.

    Args:
        sources: one source of texts or several, as `bothways encode` reads them.
        model: an encoder, or a folder, hub id or name of one.
        to: a folder (LanceDB), a file that ends in .faiss, or a URL: qdrant://host:6333/name,
            http://host:6333/name, postgresql://user@host/database/table.
        chunks: a vector for each passage, read as part of its text: "sentences" or a number of
            tokens. If None, a text has one vector.
        column: column of the texts. If None, it is found by its name.
        unit: cut a .txt file into lines or documents. If None, documents with `chunks`, else lines.
        prompt: instruction of the texts. If None, the encoder's own for documents.
        prompt_name: name of a stored instruction of the texts.
        query_prompt: instruction of queries. If None, the encoder's own for queries.
        truncate_dim: keep so many leading numbers of a vector.
        pooling: pooling of a base model.
        similarity: how vectors are compared. If None, as the encoder says.
        approximate: make searches of millions of rows faster, which may miss near rows.
        quantization: for example `Quantization("binary", rescore=4)`. If None, as it was made.
        others: what happens to texts of sources that are not named now, "keep" or "drop". If None,
            such texts are an error.
        batch_tokens: tokens of a pass.
        device: device of a model that is loaded.
        dtype: its precision. With "auto", that of the index if there is one.
        show_progress_bar: True always, False never. If None, after two seconds.

    Returns:
        The open index. Its `changes` tell what was done.

    Raises:
        InputError: the place holds an index of another model or with other settings, another
            process changes it, or a source cannot be read.
        OutputError: the place cannot be written, for example because the disk is full.
        SourceError: a source or server cannot be reached.
        MissingExtra: the library of the store is not installed.
    """
    named = _names(sources)
    _check(chunks, unit, truncate_dim, others)
    _check_bits(quantization, to, approximate)
    read = _started(_read(named, column, unit or ("line" if chunks is None else "document")))
    with places.writer(to):
        before = _before(to)
        encoder = _opened(model, before, pooling, device, dtype)
        prompts = (
            _prompt(encoder, prompt, prompt_name, "document"),
            _prompt(encoder, query_prompt, None, "query"),
        )
        asked = _asked(encoder, before, prompts, named, chunks, truncate_dim, pooling)
        asked = _ranked(asked, _kept(quantization, before), similarity_name(encoder, similarity))
        approximate = approximate or asked.approximate
        _check_bits(asked.quantization, to, approximate)
        last = {"approximate": approximate, "model": _name(model, before)}
        asked = asked.model_copy(update=last)
        _check_encoder(encoder, asked, batch_tokens)
        update = _update(to, encoder, asked, before, others, batch_tokens, read, show_progress_bar)
    return Index(update.store, encoder, changes=update.changes)


def _started(read: Iterator[Read]) -> Iterator[Read]:
    """Read the first text now, before the model is read, so that a wrong path fails at once."""
    return itertools.chain([next(read)], read)


def _opened(
    model: str | os.PathLike[str] | Encoder,
    before: IndexSettings | None,
    pooling: str | None,
    device: str,
    dtype: str,
) -> Encoder:
    """Load the model, in the precision of the index if there is one and no other is asked for."""
    if isinstance(model, Encoder):
        return model
    if before is not None and dtype == "auto":
        dtype = before.dtype
    return open_model(model, pooling=pooling, device=device, dtype=dtype)


def _update(
    to: str | os.PathLike[str],
    encoder: Encoder,
    asked: IndexSettings,
    before: IndexSettings | None,
    others: Others | None,
    batch_tokens: int | None,
    read: Iterable[Read],
    show: bool | None,
) -> Update:
    """Bring the store at a place up to date, and return what did it with the open store."""
    settings = _joined(before, asked, others, shown(os.fspath(to)))
    store = places.open_store(to, settings)
    try:
        done = before is not None and before.finished and before.approximate == asked.approximate
        done = done and store.is_whole()
        update = Update(store, encoder, settings, batch_tokens, was_finished=done)
        with Progress("index", None, "texts", show=show) as bar:
            update.run(read, bar, keep=_kept_sources(before, asked.sources, others))
        return update
    except BaseException:
        store.close()
        raise


def _asked(
    encoder: Encoder,
    before: IndexSettings | None,
    prompts: tuple[str, str],
    sources: Sequence[str],
    chunks: int | Literal["sentences"] | None,
    truncate_dim: int | None,
    pooling: str | None,
) -> IndexSettings:
    """Return the settings that an index of this encoder has, still without the model's name."""
    return IndexSettings(
        model="",
        fingerprint=identity(encoder),
        dtype=dtype_of(encoder),
        pooling=pooling,
        prompt=prompts[0],
        query_prompt=prompts[1],
        dimension=truncate_dim or encoder.dimension,
        truncate_dim=truncate_dim,
        chunks=chunks,
        sources=tuple(map(utf8_name, sources)),
        approximate=before is not None and before.approximate,
        versions=versions(),
    )


def _name(model: str | os.PathLike[str] | Encoder, before: IndexSettings | None) -> str:
    """Return the name by which the index opens its model, or "" if only its maker has it."""
    if not isinstance(model, Encoder):
        return model_name(model)
    if model.folder is not None:
        return model_name(model.folder)
    return "" if before is None else before.model


def _check_bits(
    quantization: Quantization | None, to: str | os.PathLike[str], approximate: bool
) -> None:
    """Refuse rows in bits if the store cannot keep them, or with what needs float32."""
    if quantization:
        places.check_signs(to)
        check_precision(quantization, shown(os.fspath(to)), approximate=approximate)


def _ranked(asked: IndexSettings, kept: Quantization, kind: Similarity) -> IndexSettings:
    """Add how rows are kept and compared.

    Raises:
        InputError: rows of this precision cannot be compared so.
    """
    update = {
        "similarity": kept.check(kind),
        "precision": kept.precision,
        "rescore": kept.rescore,
        "rescore_with": kept.rescore_with,
    }
    return asked.model_copy(update=update)


def _kept(asked: Quantization | None, before: IndexSettings | None) -> Quantization:
    """Return how vectors are kept: as asked, else as in the index that is there."""
    if asked is None and before is not None:
        return before.quantization
    return asked or NONE


def _read(sources: Sequence[str], column: str | None, unit: str) -> Iterator[Read]:
    reader = iter_texts if unit == "line" else iter_documents
    for source in sources:
        name = utf8_name(source)
        where: Places = deque()
        for text in reader(source, column=column, places=where, splits="all"):
            file, row = where.popleft()
            digest = digest_of(text)
            yield Read(document_name(name, file, row, digest), digest, name, file, row, text)


def _names(sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return the sources as they are stored: "./notes/" and "notes" are one."""
    given = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    if not given:
        raise InputError("sources: name at least one file, folder or dataset")
    found = []
    for source in given:
        name = os.fspath(source)
        found.append(os.path.normpath(name) if Path(name).expanduser().exists() else name)
    return list(dict.fromkeys(found))


def _check(chunks: object, unit: object, truncate_dim: object, others: object) -> None:
    """Refuse settings that do not work together, before anything is read."""
    number = isinstance(chunks, int) and not isinstance(chunks, bool) and chunks >= 1
    if chunks is not None and chunks != "sentences" and not number:
        raise InputError(f"chunks: must be 'sentences' or a number of tokens (got {chunks!r})")
    if unit not in (None, "line", "document"):
        raise InputError(f"unit: must be 'line' or 'document' (got {unit!r})")
    if others not in (None, "keep", "drop"):
        raise InputError(f"others: must be 'keep' or 'drop' (got {others!r})")
    if chunks is not None and truncate_dim is not None:
        raise InputError("truncate_dim: does not work with chunks; leave one of them out")


def _check_encoder(encoder: Encoder, asked: IndexSettings, batch_tokens: int | None) -> None:
    """Refuse what the encoder cannot do, before the store is made with settings of no use.

    Raises:
        InputError: for example, it has fewer numbers than are to be kept.
    """
    if asked.chunks is None:
        cut = asked.truncate_dim
        encoder.encode_stream([], prompt=asked.prompt, truncate_dim=cut, batch_tokens=batch_tokens)
    else:
        encoder.encode_chunks([], asked.chunks, prompt=asked.prompt, batch_tokens=batch_tokens)


def _before(to: str | os.PathLike[str]) -> IndexSettings | None:
    """Read the settings of the index that is there, if any."""
    if not places.exists(to):
        return None
    store = places.open_store(to) if places.scheme_of(os.fspath(to)) else None
    if store is None:
        return places.local_settings(to)
    try:
        return store.settings()
    finally:
        store.close()


def _joined(
    before: IndexSettings | None, asked: IndexSettings, others: Others | None, place: str
) -> IndexSettings:
    """Return the settings to write: those asked for, with the sources that stay.

    Raises:
        InputError: they do not fit to the index, or it holds sources that are not named.
    """
    if before is None:
        return asked
    before.check_fits(asked, place)
    missing = [each for each in before.sources if each not in asked.sources]
    if missing and others is None:
        raise InputError(
            f"{place}: also holds texts of {', '.join(missing)}; name all sources, or say --keep to leave those texts in the "
            "index or --drop to remove them"
        )
    sources = (*missing, *asked.sources) if others == "keep" else asked.sources
    return asked.model_copy(update={"sources": sources, "generation": before.generation})


def _kept_sources(
    before: IndexSettings | None, named: Sequence[str], others: Others | None
) -> set[str]:
    if before is None or others != "keep":
        return set()
    return set(before.sources) - set(named)


def _prompt(
    encoder: Encoder, prompt: str | None, name: str | None, role: Literal["query", "document"]
) -> str:
    """Return the instruction of a role, as `encode_query` and `encode_document` choose it."""
    if prompt is None and name is None:
        prompt = encoder.role_prompt(role)
    return encoder.prompt(prompt, name) or ""
