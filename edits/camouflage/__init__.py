"""Passes composed after an edit that make it harder to see, one file each."""
