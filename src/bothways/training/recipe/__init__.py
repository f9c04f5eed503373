"""Recipes: the typed value, its files, overrides, and LLM2Vec's own configurations."""
