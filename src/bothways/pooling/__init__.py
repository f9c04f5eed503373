"""From token states to one vector per text. Poolings know nothing of models or transformers."""

from bothways.pooling.pool import POOLINGS, Pooling

__all__ = ["POOLINGS", "Pooling"]
