"""Data: texts and pairs from files, folders and the hub, the embedded text, packing, views and fingerprints."""
