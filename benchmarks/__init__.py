"""Figures, each a command: `python -m benchmarks.NAME` prints a table, with `--json` one object."""
