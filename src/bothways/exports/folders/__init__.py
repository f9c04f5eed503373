"""Folders for sentence-transformers and for the package llm2vec."""
