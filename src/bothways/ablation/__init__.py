"""Ablations: trains rows of methods x poolings on one base, measures and compares them."""
