"""Backbones: the bare decoder of an encoder, its head, positions, dropout and device."""
