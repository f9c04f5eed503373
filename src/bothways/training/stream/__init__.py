"""Stages with data that streams: its shards, and the examples of each step."""
