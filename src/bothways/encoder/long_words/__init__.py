"""Proofs about one word as long as a text: its bounds and its first tokens."""
