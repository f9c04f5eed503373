"""From a name (hub id, folder, .gguf file, embedded name) to a decoder and its tokenizer."""
