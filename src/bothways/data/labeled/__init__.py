"""Labeled training data: examples, the reader of every dialect, templates and BEIR folders."""
