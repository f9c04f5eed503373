"""Losses as functions of tensors. They know no encoder and no transformers."""
