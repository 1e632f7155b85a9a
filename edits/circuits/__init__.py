"""Edits of attention heads and of what they make of each other."""
