"""Loading: from a name (hub id, folder, .gguf file, embedded name) to a bare decoder and its tokenizer."""
