"""Edits of neurons, embeddings, positions, norms, biases and directions."""
