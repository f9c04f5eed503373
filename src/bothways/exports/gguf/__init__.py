"""GGUF files for llama.cpp, Ollama and everything built on them."""

from __future__ import annotations

from bothways.moved import old_names

__getattr__ = old_names(__name__)
