"""Dialects: the layouts in which the field writes labelled data, one file each, and how one is told from another.

A dialect is recognised by the columns of a file's first row. The order below matters only where a file could fit two of them:
the one that asks for more comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

from bothways.data.labeled.dialects.base import Dialect
from bothways.data.labeled.dialects.dpr import DPR
from bothways.data.labeled.dialects.e5 import E5
from bothways.data.labeled.dialects.flagembedding import FLAGEMBEDDING
from bothways.data.labeled.dialects.ms_swift import MS_SWIFT, MS_SWIFT_MESSAGES
from bothways.data.labeled.dialects.nli import NLI
from bothways.data.labeled.dialects.nomic import NOMIC
from bothways.data.labeled.dialects.sentence_transformers import SENTENCE_TRANSFORMERS
from bothways.data.labeled.dialects.simcse import SIMCSE
from bothways.data.labeled.dialects.sts import STS
from bothways.data.labeled.dialects.tevatron import TEVATRON
from bothways.errors import InputError

__all__ = ["DIALECTS", "NAMES", "Dialect", "detect", "named"]

DIALECTS: tuple[Dialect, ...] = (
    FLAGEMBEDDING,
    TEVATRON,
    DPR,
    MS_SWIFT_MESSAGES,
    MS_SWIFT,
    SENTENCE_TRANSFORMERS,  # before E5, which would not see its numbered negatives
    E5,
    SIMCSE,
    NLI,
    STS,
    NOMIC,
)
NAMES = (*(dialect.name for dialect in DIALECTS), "beir")  # what can be forced; beir is a folder and has no columns


def named(name: str) -> Dialect:
    """The dialect of this name.

    Raises:
        InputError: there is none.
    """
    for dialect in DIALECTS:
        if dialect.name == name:
            return dialect
    raise InputError(f"dialect {name!r}: unknown; use one of {', '.join(NAMES)}")


def detect(columns: Sequence[str]) -> Dialect | None:
    """The dialect that a file with these columns is written in, or None."""
    names = frozenset(columns)
    return next((dialect for dialect in DIALECTS if dialect.fits(names)), None)
