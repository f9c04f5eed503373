"""Data larger than memory: shards that are read in turn, cut into pieces that fit."""
