"""Dialects: the layouts of labeled data that other projects write, one file each.

A dialect is recognized by the columns of a file's first row. The order below matters only if a file
could fit two of them: the dialect that asks for more comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

from bothways.data.labeled.dialects.dialect import Dialect
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
from bothways.nearest import meant

__all__ = ["DIALECTS", "NAMES", "Dialect", "detect", "named"]

DIALECTS: tuple[Dialect, ...] = (
    FLAGEMBEDDING,
    TEVATRON,
    DPR,
    MS_SWIFT_MESSAGES,
    MS_SWIFT,
    SENTENCE_TRANSFORMERS,  # before E5, which does not see numbered negatives
    E5,
    SIMCSE,
    NLI,
    STS,
    NOMIC,
)
"""Every dialect, in the order in which they are tried."""

NAMES = (*(dialect.name for dialect in DIALECTS), "beir")
"""The dialects that a user can name. BEIR is a folder, so it is not recognized by columns."""


def named(name: str) -> Dialect:
    """Return the dialect of this name, for example "e5".

    Raises:
        InputError: the name is unknown.
    """
    for dialect in DIALECTS:
        if dialect.name == name:
            return dialect
    raise InputError(
        f"dialect {name!r}: unknown; {meant(name, NAMES)}use one of {', '.join(NAMES)}"
    )


def detect(columns: Sequence[str]) -> Dialect | None:
    """Return the dialect of a file that has these columns, or None.

    For example, detect(["query", "pos", "neg"]) is FlagEmbedding's.
    """
    names = frozenset(columns)
    return next((dialect for dialect in DIALECTS if dialect.fits(names)), None)
