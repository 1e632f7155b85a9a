"""Play the small suite with every shipped auditor; see the leaderboard and two telling rounds."""

import argparse

SUITE = "smoke"


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_run_options

    add_run_options(parser)


def run(args: argparse.Namespace) -> int:
    """Play, then show what it was about: a find, a mistake, and who did best."""
    from game.cli._names import shipped_auditors
    from game.cli._rounds import debriefs, play, show

    result = play(args, SUITE, shipped_auditors())
    from game.report.debrief import telling

    return show(args, result, telling(result.leaderboard, debriefs(result)))
