"""What the transformer is timed against."""
