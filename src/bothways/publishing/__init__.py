"""Encoders on the hub: the files of a folder that are uploaded, and the scores on its card."""
