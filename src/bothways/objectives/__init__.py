"""Objectives: the examples, batches, losses and steps of each method. See `objectives.base`."""
