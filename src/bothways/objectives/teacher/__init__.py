"""A second encoder that training learns from or asks: opened, fingerprinted, its vectors cached."""
