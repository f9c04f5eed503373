"""Parts of the tasks that need a causal language model, and the words that an embedding holds."""
