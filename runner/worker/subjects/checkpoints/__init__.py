"""Models of Transformers: folders in its format, the Hub, tokenizers and probes."""
