"""Tasks that need a causal language model: opening it, its topics, and the words of an embedding."""
