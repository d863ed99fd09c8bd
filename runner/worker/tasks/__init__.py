"""What a run does with its model: the batches that it times, and the answers from which accuracy is computed."""
