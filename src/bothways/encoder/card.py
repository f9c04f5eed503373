"""README.md of a saved encoder: what it is and the three ways to load it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bothways.encoder import pooling_module, template_module
from bothways.encoder.prompts import NAMES, implied

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder


def model_card(encoder: Encoder, notes: list[str]) -> str:
    """Model card in Markdown with the metadata block that hubs read.

    Args:
        encoder: what is being saved.
        notes: sentences on what other loaders do differently.
    """
    stages = [
        str(stage.get("name", stage)) if isinstance(stage, dict) else str(stage)
        for stage in encoder.provenance.get("stages", [])
    ]
    made = f"trained in the stages {', '.join(stages)}" if stages else "not trained"
    trained = pooling_module.is_trained(encoder.pooling)
    trust = ", trust_remote_code=True" if trained or template_module.needs_code(encoder) else ""
    how = f"`{pooling_module.CODE.name}` does" if trained else "`1_Pooling/config.json` says"
    if template_module.is_last_tokens(encoder):
        how = f"`{template_module.CODE.name}` does"
    caveats = "".join(f"- {note}\n" for note in notes)
    return f"""---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, feature-extraction, bothways]
---

# Text encoder from {encoder.provenance.get("base", "a language model")}

{encoder.direction.capitalize()} attention, {encoder.pooling.mode} pooling, {encoder.dimension} dimensions, up to
{encoder.max_length or "any number of"} tokens per text; {made}. Provenance: `bothways.json`.

```python
from sentence_transformers import SentenceTransformer

vectors = SentenceTransformer("this folder"{trust}).encode(["a text"])
```

```python
import bothways as bw

vectors = bw.load("this folder").encode(["a text"])
```
{_prompts(encoder, notes)}
`AutoModel.from_pretrained("this folder")` gives the token states; pool them as {how}.
{caveats}- An empty text has a vector in bothways. sentence-transformers gives the zero vector or stops with an error.
- The OpenVINO and ONNX backends of sentence-transformers (`backend="openvino"`, `backend="onnx"`) feed no positions to decoders: vectors
  are wrong or NaN, without an error. Use the default backend.
"""


def _prompts(encoder: Encoder, notes: list[str]) -> str:
    """How stored prompts act in frameworks, which pass them on in their own ways; nothing without prompts."""
    stored = {**encoder.prompts, **implied(encoder.prompts, encoder.options.default_prompt)}
    roles = {role: stored.get(role, "") for role in NAMES}
    if not any(stored.values()):
        return ""
    names = {role: repr(role) for role, prompt in roles.items() if prompt}
    query = f"{{'prompt': {roles['query']!r}}}"
    document = f"{{'prompt': {roles['document']!r}}}"
    shown = ", ".join(f"{name!r} ({text!r})" for name, text in stored.items())
    calls = " and ".join(f"`encode_{role}` takes {name}" for role, name in names.items()) or "pass `prompt_name`"
    return f"""
## Prompts

Stored: {shown}. In SentenceTransformer and bothways {calls}. Frameworks call `encode` for both sides, so say which prompt is meant; an
empty string means none:

- LangChain: `HuggingFaceEmbeddings(model_name=..., query_encode_kwargs={query}, encode_kwargs={document})`.
- Chroma: its embedding function takes one prompt for queries and documents. Encode with `encode_query` and `encode_document` yourself
  and pass `embeddings=` and `query_embeddings=`.
- Haystack: give the embedders no `prefix`, which would stand before the stored prompt. `SentenceTransformersTextEmbedder(model=...,
  encode_kwargs={query})`, `SentenceTransformersDocumentEmbedder(model=..., encode_kwargs={document})`.
- LlamaIndex: stored prompts never act. `HuggingFaceEmbedding(model_name=..., query_instruction={roles["query"]!r},
  text_instruction={roles["document"]!r})`.
"""
