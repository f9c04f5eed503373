"""LoRA adapters: attach, read, write and merge them, and train the rows of new tokens."""
