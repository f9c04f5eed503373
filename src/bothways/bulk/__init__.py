"""Vectors of any number of texts in a folder of Parquet shards, by one process or many."""
