"""An encoder in LlamaIndex. It replaces the stored prompts "query" and "text" by its own two
arguments, so give the prompts again.
"""

import json
import sys
from pathlib import Path

from llama_index.core import VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.embeddings.huggingface import HuggingFaceEmbedding

question, texts = (
    "Which river runs to the sea?",
    ["The river runs from the mountain to the sea.", "A cat watches the rain."],
)
prompts = json.loads((Path(sys.argv[1]) / "config_sentence_transformers.json").read_text())[
    "prompts"
]
embedding = HuggingFaceEmbedding(
    model_name=sys.argv[1],
    query_instruction=prompts.get("query", ""),
    text_instruction=prompts.get("document", ""),
)
query, documents = (
    embedding.get_query_embedding(question),
    embedding.get_text_embedding_batch(texts),
)
index = VectorStoreIndex([TextNode(text=text) for text in texts], embed_model=embedding)
found = [each.text for each in index.as_retriever(similarity_top_k=2).retrieve(question)]
