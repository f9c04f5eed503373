"""Evaluation data: labeled text, BEIR collections, pair collections, CoNLL files and their columns."""
