"""Merges encoders of one architecture: soups, greedy soups and slerp of their weights."""
