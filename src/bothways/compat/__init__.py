"""Classes with the interface of other projects over our encoders."""

from bothways.compat.llm2vec import LLM2Vec

__all__ = ["LLM2Vec"]
