"""Let one auditor play a suite, or one case of it, and see each round's debrief."""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_run_options

    parser.add_argument(
        "target", metavar="CASE_OR_SUITE", help="a suite, or one of its cases as suite:case-007"
    )
    parser.add_argument(
        "--auditor", required=True, metavar="NAME", help="a shipped auditor, or file.py@Class"
    )
    add_run_options(parser)


def run(args: argparse.Namespace) -> int:
    """Play, then tell for each round what was believed and where it really was."""
    from game.cli._rounds import debriefs, play, show

    suite, _, case_id = args.target.partition(":")
    result = play(args, suite, [args.auditor], case_id)
    return show(args, result, debriefs(result))
