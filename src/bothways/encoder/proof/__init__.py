"""The doctor: checks that a loaded encoder has the properties it claims."""
