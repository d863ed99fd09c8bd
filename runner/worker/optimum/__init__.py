"""Models of Hugging Face Transformers, and how Optimum brings them to a runtime: a module for each backend."""
