"""Names of the small files by which a folder of a model is recognized, and read.

Everything that looks for one of these files takes its name from here.
"""

from __future__ import annotations

MODULES = "modules.json"
"""A file of every sentence-transformers folder. It lists the modules."""
TRANSFORMER_SETTINGS = "sentence_bert_config.json"
"""Settings of sentence-transformers' Transformer, for example the longest text."""
ENCODER_SETTINGS = "config_sentence_transformers.json"
"""Settings of a sentence-transformers folder as a whole, for example its prompts."""
OURS = "bothways.json"
"""Our own settings and provenance, of an encoder, a language model or a kept adapter."""
LLM2VEC = "llm2vec_config.json"
"""A file with LLM2Vec's settings."""
ADAPTER = "adapter_config.json"
"""peft's configuration of an adapter."""
EXPORT = "bothways-export.json"
"""What every folder that `bothways export` writes holds."""
ENCODER_FILES = (MODULES, LLM2VEC, ADAPTER)
"""Files that tell a finished encoder from a base model. One of them is enough."""
