"""What auditors are made of: evidence read off a model, and beliefs fitted to practice cases."""
