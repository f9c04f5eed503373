"""Model families: which can be made bidirectional, and the proof of it on small random models."""
