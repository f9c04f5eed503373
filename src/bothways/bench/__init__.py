"""Compares the speed of an encoder with other libraries, in one run on this machine."""
