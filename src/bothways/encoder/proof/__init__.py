"""The doctor: checks that a loaded encoder does what it says."""
