"""Frozen token states, and the linear probes that are trained on them."""
