"""Play the small suite with three auditors; see the leaderboard and two telling rounds."""

import argparse

SUITE = "smoke"
AUDITORS = ("ensemble", "spectral_spike", "confidence_scan")  # a team, a look at weights, a look at answers


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_run_options

    add_run_options(parser)


def run(args: argparse.Namespace) -> int:
    """Play, then show what it was about: a find, a mistake, and who did best."""
    from game.cli._names import shipped_yardsticks
    from game.cli._rounds import debriefs, play, show

    result = play(args, SUITE, [*AUDITORS, *shipped_yardsticks()])
    from game.report.debrief import telling

    return show(args, result, telling(result.leaderboard, debriefs(result)))
