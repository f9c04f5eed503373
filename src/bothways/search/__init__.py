"""Search over texts: exact top-K in blocks, BM25, and vectors on disk.

This package is below mining and evaluation and imports neither.
"""
