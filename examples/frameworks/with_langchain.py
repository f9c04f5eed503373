"""An encoder in LangChain. Prompts go by name: without these arguments queries and documents get
the same one.

LangChain turns line feeds of a text into blanks. A text of several lines gets the vector of one
line there; prompts keep their line feeds.
"""

import sys

from langchain_core.vectorstores import InMemoryVectorStore
from langchain_huggingface import HuggingFaceEmbeddings

question, texts = (
    "Which river runs to the sea?",
    ["The river runs from the mountain to the sea.", "A cat watches the rain."],
)
embeddings = HuggingFaceEmbeddings(
    model_name=sys.argv[1],
    query_encode_kwargs={"prompt_name": "query"},
    encode_kwargs={"prompt_name": "document"},
)
query, documents = embeddings.embed_query(question), embeddings.embed_documents(texts)
found = [
    each.page_content
    for each in InMemoryVectorStore.from_texts(texts, embeddings).similarity_search(question, k=2)
]
