"""The embedded text: the running Python's standard library, with nothing to download."""
