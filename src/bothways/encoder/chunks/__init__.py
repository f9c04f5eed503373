"""Late chunking: the vectors of the passages of a document, after reading all of it."""
