"""Tasks: what the models are trained on, one task a file."""
