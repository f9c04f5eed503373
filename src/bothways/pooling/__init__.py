"""Poolings: from token states to one vector per text, without knowledge of models."""

from bothways.pooling.config import PoolingConfig
from bothways.pooling.latent_attention import LatentAttention
from bothways.pooling.pool import POOLINGS, Pooling
from bothways.pooling.self_attention import SelfAttention

__all__ = ["POOLINGS", "LatentAttention", "Pooling", "PoolingConfig", "SelfAttention"]
