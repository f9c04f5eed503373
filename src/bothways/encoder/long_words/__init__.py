"""Proofs about the beginning of one word that is as long as a text: its bounds and its first
tokens.
"""
