"""Indexes: the vectors of texts with their places, kept up to date, and searched exactly."""
