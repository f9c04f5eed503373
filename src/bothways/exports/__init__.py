"""Encoders in the formats of servers that do not read sentence-transformers folders."""
