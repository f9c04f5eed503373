"""Plain text for training: readers, documents, passages, sentences, packing and views."""
