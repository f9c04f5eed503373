"""Data: texts, pairs and labeled rows from files, folders and the hub, and the embedded text."""
