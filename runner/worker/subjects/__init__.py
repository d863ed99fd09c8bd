"""What is run: architectures, their weights, and Transformers checkpoints."""
