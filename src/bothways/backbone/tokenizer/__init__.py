"""Tokenizers: special tokens around a text, and the files they are read from and written to."""
