"""The choice of a teacher as a typed value."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from bothways.backbone.loading.embedded import cache_root
from bothways.config import Strict
from bothways.similarity_names import Similarity


class TeacherConfig(Strict):
    """A frozen encoder that is asked for vectors. Each text is encoded once and kept on disk."""

    encoder: str = Field(
        description="encoder folder or hub id (bothways or sentence-transformers), or a Python function of "
        "a list of texts as module:function, e.g. my_teacher:encode"
    )
    query_prompt: str = Field(
        default="", description="put before queries and plain texts for the teacher, e.g. 'query: '"
    )
    document_prompt: str = Field(
        default="", description="put before documents for the teacher, e.g. 'passage: '"
    )
    similarity: Similarity | None = Field(
        default=None,
        description="how the teacher's vectors are compared: cosine, dot, euclidean or manhattan. If null, as its folder or function "
        "says (similarity_fn_name), else cosine",
    )
    cache: str | None = Field(
        default=None,
        description="folder for the teacher's vectors. If null, teachers in BOTHWAYS_CACHE or ~/.cache/bothways",
    )

    @property
    def folder(self) -> Path:
        """The folder of the cache, which may not exist yet."""
        return cache_root() / "teachers" if self.cache is None else Path(self.cache).expanduser()
