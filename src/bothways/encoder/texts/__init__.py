"""From texts to rows of tokens: prompts, tokenization, and the mask of pooled tokens."""
