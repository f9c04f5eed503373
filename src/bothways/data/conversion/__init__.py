"""Conversions: labeled data of other tasks as queries with positives and negatives.

One file for each kind of data, after NV-Embed (arXiv 2405.17428).
"""
