"""Data of evaluation tasks, read from files: pairs, collections, labeled texts and sentences."""
