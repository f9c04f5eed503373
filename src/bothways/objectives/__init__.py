"""Objectives: what a method trains on and how it steps. See `objectives.base`."""
