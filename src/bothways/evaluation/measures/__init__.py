"""Measures: functions from arrays to numbers. They use no encoder and no file."""
