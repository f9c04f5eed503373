"""Folders for vLLM and text-embeddings-inference."""
