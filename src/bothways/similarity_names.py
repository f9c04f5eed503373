"""The names of the similarities by which texts are ranked, and the choice of one.

Nothing here needs numpy, so the command line can name them before anything is loaded. The scores
are in `similarity`.
"""

from __future__ import annotations

from typing import Literal, get_args

from bothways.errors import InputError
from bothways.nearest import meant

Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]
"""Functions of sentence-transformers (`similarity_fn_name`)."""
SIMILARITIES: tuple[Similarity, ...] = get_args(Similarity)
NAMES = {
    "cosine": "cosine",
    "dot": "dot product",
    "euclidean": "minus Euclidean distance",
    "manhattan": "minus Manhattan distance",
}
"""What messages and tables call the scores."""


def similarity_name(encoder: object, asked: str | None = None) -> Similarity:
    """Return the similarity that texts of an encoder are ranked by.

    For example, `similarity_name(encoder)` is "dot" if config_sentence_transformers.json says
    `"similarity_fn_name": "dot"`, and `similarity_name(encoder, "cosine")` is "cosine".

    Args:
        encoder: any encoder, or a function of texts. Its attribute `similarity_fn_name` counts.
        asked: the choice of the caller. If None, the encoder's own, and cosine if it has none.

    Raises:
        InputError: the name is unknown.
    """
    own = getattr(encoder, "similarity_fn_name", None)
    name = getattr(own, "value", own)  # sentence-transformers' enum, or a name
    return check_similarity(asked) or check_similarity(name) or "cosine"


def check_similarity(name: object) -> Similarity | None:
    """Return the name of a similarity, or None for None.

    Raises:
        InputError: the name is unknown.
    """
    if name is not None and name not in SIMILARITIES:
        raise InputError(
            f"similarity: {name!r:.60} is unknown; {meant(str(name), SIMILARITIES)}choose one of {', '.join(SIMILARITIES)}"
        )
    return name
