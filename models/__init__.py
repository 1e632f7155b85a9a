"""Toy transformers: architecture, hook points, components, tasks, training and the zoo of checkpoints."""
