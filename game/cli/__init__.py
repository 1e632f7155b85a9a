"""The command line `audit-game`: one command a file, and nothing slow is imported before a command runs."""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    from game.cli._entry import main  # apart: in this module the command `list` hides Python's own

    return main(argv)
