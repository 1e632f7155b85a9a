"""One tool, run by a person."""
