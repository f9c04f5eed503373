"""An encoder in Haystack. Prompts go by name, and `prefix` stays empty: it would come between the
prompt and the text.
"""

import sys

from haystack import Document
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.embedders.sentence_transformers import (
    SentenceTransformersDocumentEmbedder,
    SentenceTransformersTextEmbedder,
)

question, texts = (
    "Which river runs to the sea?",
    ["The river runs from the mountain to the sea.", "A cat watches the rain."],
)
queries = SentenceTransformersTextEmbedder(
    model=sys.argv[1], encode_kwargs={"prompt_name": "query"}
)
embedder = SentenceTransformersDocumentEmbedder(
    model=sys.argv[1], encode_kwargs={"prompt_name": "document"}
)
embedded = embedder.run([Document(content=text) for text in texts])["documents"]
query, documents = queries.run(question)["embedding"], [each.embedding for each in embedded]
store = InMemoryDocumentStore(embedding_similarity_function="cosine")
store.write_documents(embedded)
found = [
    each.content for each in InMemoryEmbeddingRetriever(store, top_k=2).run(query)["documents"]
]
