"""The server of `bothways serve`: vectors over HTTP in OpenAI's form, many requests in one pass."""
