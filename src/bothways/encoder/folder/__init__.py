"""Encoders on disk: writing and reading sentence-transformers and LLM2Vec folders."""
