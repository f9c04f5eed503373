"""Evaluation of encoders: tasks, measures, and results that record how they came about."""
