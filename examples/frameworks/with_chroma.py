"""An encoder in Chroma. Its own SentenceTransformerEmbeddingFunction has one prompt for both sides;
this one keeps them apart.
"""

import sys

import chromadb
from sentence_transformers import SentenceTransformer


class Encoder(chromadb.EmbeddingFunction):
    """`__call__` is for documents, `embed_query` for queries."""

    def __init__(self, name: str) -> None:
        self.model = SentenceTransformer(name)

    def __call__(self, input: list[str]) -> list:
        return list(self.model.encode_document(input))

    def embed_query(self, input: list[str]) -> list:
        return list(self.model.encode_query(input))


question, texts = (
    "Which river runs to the sea?",
    ["The river runs from the mountain to the sea.", "A cat watches the rain."],
)
encoder = Encoder(sys.argv[1])
store = chromadb.EphemeralClient().create_collection(
    "texts", embedding_function=encoder, configuration={"hnsw": {"space": "cosine"}}
)
store.add(ids=["0", "1"], documents=texts)
query, documents = (
    encoder.embed_query([question])[0],
    store.get(ids=["0", "1"], include=["embeddings"])["embeddings"],
)
found = store.query(query_texts=[question], n_results=2)["documents"][0]
