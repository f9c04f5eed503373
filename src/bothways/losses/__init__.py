"""Losses as functions of tensors. They use neither encoders nor transformers."""
