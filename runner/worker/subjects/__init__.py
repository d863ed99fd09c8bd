"""What is measured: architectures, weights, and Transformers checkpoints."""
