"""Search over texts: exact top-K in blocks, BM25, vectors on disk. Below mining and evaluation, and knows of neither."""
