"""The training loop: trainer, optimizer step, update, checkpoints, metrics and randomness."""
