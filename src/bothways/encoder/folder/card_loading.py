"""The part of a model card that shows how to load the folder: code for each library.

`make frameworks` takes these blocks out of a saved card and runs them unchanged, in an environment
with the frameworks' own packages. A block leaves its result in `query` (the vector of one query)
and `documents` (the vectors of a list of documents).

Every framework needs arguments of its own. sentence-transformers applies a stored prompt in
`encode_query` and `encode_document`, but frameworks call `encode` for both sides, so you must name
the prompt.
"""

from __future__ import annotations

from bothways.encoder.folder import pooling_module, template_module
from bothways.encoder.module import EncoderModule
from bothways.encoder.texts.prompts import NAMES, PromptRole, implied

FOLDER = "this folder"
"""Name of the model in the code, until it has a name on the hub."""

_QUERY, _DOCUMENTS = '"a query"', '["a document"]'


def loading(encoder: EncoderModule, place: str = FOLDER) -> str:
    """Write the sections "Load it" and, if there are any prompts, "Prompts", as Markdown."""
    trust = needs_trust(encoder)
    flag = ", trust_remote_code=True" if trust else ""
    blocks = [
        ("bothways", _bothways(place)),
        ("sentence-transformers", _sentence_transformers(place, flag)),
        ("LangChain", _langchain(encoder, place, trust)),
        ("LlamaIndex", _llama_index(encoder, place, flag)),
        ("Haystack", _haystack(encoder, place, flag)),
        ("Chroma", _chroma(encoder, place, flag)),
    ]
    code = "\n".join(f"### {name}\n\n```python\n{block}```\n" for name, block in blocks if block)
    return f"## Load it\n\n{code}\n{_prompts(encoder)}"


def needs_trust(encoder: EncoderModule) -> bool:
    """Return whether the folder has a module that needs trust_remote_code=True."""
    return pooling_module.is_trained(encoder.pooling) or template_module.needs_code(encoder)


def prompt_name(encoder: EncoderModule, role: PromptRole) -> str:
    """Return the name of a role's prompt in the folder.

    If there is none, sentence-transformers adds an empty one under the role's first name.
    """
    return next((name for name in NAMES[role] if name in encoder.prompts), NAMES[role][0])


def _stored(encoder: EncoderModule) -> dict[str, str]:
    return {**encoder.prompts, **implied(encoder.prompts, encoder.options.default_prompt)}


def _bothways(place: str) -> str:
    return f"""import bothways as bw

encoder = bw.load("{place}")
query = encoder.encode_query({_QUERY})
documents = encoder.encode_document({_DOCUMENTS})
"""


def _sentence_transformers(place: str, flag: str) -> str:
    return f"""from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{place}"{flag})
query = model.encode_query({_QUERY})
documents = model.encode_document({_DOCUMENTS})
"""


def _langchain(encoder: EncoderModule, place: str, trust: bool) -> str:
    model = '\n    model_kwargs={"trust_remote_code": True},' if trust else ""
    return f"""from langchain_huggingface import HuggingFaceEmbeddings

embeddings = HuggingFaceEmbeddings(
    model_name="{place}",{model}
    query_encode_kwargs={{"prompt_name": "{prompt_name(encoder, "query")}"}},
    encode_kwargs={{"prompt_name": "{prompt_name(encoder, "document")}"}},
)
query = embeddings.embed_query({_QUERY})
documents = embeddings.embed_documents({_DOCUMENTS})
"""


def _llama_index(encoder: EncoderModule, place: str, flag: str) -> str:
    stored = _stored(encoder)
    texts = [stored.get(prompt_name(encoder, role), "") for role in NAMES]
    instructions = (
        f"\n    query_instruction={texts[0]!r},\n    text_instruction={texts[1]!r},\n"
        if any(texts)
        else ""
    )
    arguments = f'model_name="{place}"{flag}'
    made = (
        f"HuggingFaceEmbedding(\n    {arguments},{instructions})"
        if instructions
        else f"HuggingFaceEmbedding({arguments})"
    )
    return f"""from llama_index.embeddings.huggingface import HuggingFaceEmbedding

embedding = {made}
query = embedding.get_query_embedding({_QUERY})
documents = embedding.get_text_embedding_batch({_DOCUMENTS})
"""


def _haystack(encoder: EncoderModule, place: str, flag: str) -> str:
    query, document = (prompt_name(encoder, role) for role in NAMES)
    return f"""from haystack import Document
from haystack_integrations.components.embedders.sentence_transformers import (
    SentenceTransformersDocumentEmbedder,
    SentenceTransformersTextEmbedder,
)

queries = SentenceTransformersTextEmbedder(
    model="{place}"{flag}, encode_kwargs={{"prompt_name": "{query}"}}
)
texts = SentenceTransformersDocumentEmbedder(
    model="{place}"{flag}, encode_kwargs={{"prompt_name": "{document}"}}
)
query = queries.run({_QUERY})["embedding"]
documents = [each.embedding for each in texts.run([Document(content=text) for text in {_DOCUMENTS}])["documents"]]
"""


_SPACES = {"cosine": "cosine", "dot": "ip", "euclidean": "l2"}  # of Chroma, which has no other


def _chroma(encoder: EncoderModule, place: str, flag: str) -> str:
    space = _SPACES.get(encoder.options.similarity)
    if space is None:
        return ""
    return f"""import chromadb
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{place}"{flag})
collection = chromadb.EphemeralClient().create_collection("texts", configuration={{"hnsw": {{"space": "{space}"}}}})
texts = {_DOCUMENTS}
documents = model.encode_document(texts)
collection.add(ids=[str(number) for number in range(len(texts))], documents=texts, embeddings=documents)
query = model.encode_query({_QUERY})
found = collection.query(query_embeddings=[query], n_results=1)
"""


def _prompts(encoder: EncoderModule) -> str:
    """Write which prompts are stored and who applies them. Empty if there are none."""
    stored = _stored(encoder)
    if not any(stored.values()):
        return ""
    rows = "".join(f"| {_cell(name)} | `{_cell(repr(text))}` |\n" for name, text in stored.items())
    return f"""## Prompts

| name | text |
|---|---|
{rows}
`encode_query` takes "{prompt_name(encoder, "query")}" and `encode_document` takes "{prompt_name(encoder, "document")}". Frameworks call
`encode` for both sides, so the code above names the prompt of each. Without these arguments:

- LangChain, Haystack and Chroma give queries and documents the same prompt, which is {_default(encoder)}.
- LlamaIndex replaces the stored prompts "query" and "text" by its own arguments, which are empty if you give none.
- Haystack's `prefix` would come between the prompt and the text, and is pooled. Give none.

"""


def _default(encoder: EncoderModule) -> str:
    name = encoder.options.default_prompt
    return "no prompt at all" if name is None else f'the default one, "{name}"'


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'")
