"""Single changes of the sources, the tests that may notice them, and the changes that no test can
see.
"""
