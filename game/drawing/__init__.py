"""Results of tools, drawn: one renderer for each medium."""
