"""Consoles that print text as it is: no markup, no emoji codes, no highlighting."""

import os
import sys

from rich.console import Console

WIDTH = 110  # where no terminal says otherwise


def console(error: bool = False) -> Console:
    """A console on stdout, or on stderr; colours only on a terminal, and never with NO_COLOR."""
    terminal = (sys.stderr if error else sys.stdout).isatty()
    width = None if terminal or "COLUMNS" in os.environ else WIDTH
    return Console(stderr=error, markup=False, emoji=False, highlight=False, width=width)
