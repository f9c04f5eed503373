"""Other projects' faces over our encoders: a script written for them runs with its import changed."""

from bothways.compat.llm2vec import LLM2Vec

__all__ = ["LLM2Vec"]
