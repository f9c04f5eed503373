"""Measures: arrays in, numbers out. No encoder and no file."""
