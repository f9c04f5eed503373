"""Texts to vectors: prompts and tokens, packing, the encoder itself, its storage and its proof."""
