"""Let auditors play every case of a suite; interrupted, the same command goes on."""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_run_options, names

    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    summary = "play every case with every auditor and rank them"
    start = actions.add_parser("run", help=summary, description=summary, allow_abbrev=False)
    start.add_argument("suite", metavar="SUITE", help="a shipped suite, or a file")
    start.add_argument(
        "--auditors",
        type=names,
        metavar="A[,B]",
        help="those who play (default: all shipped ones); yardsticks are always added",
    )
    add_run_options(start)
    start.add_argument(
        "--rated",
        action="store_true",
        help="draw the cases from a fresh secret that is revealed when every round is played",
    )


def run(args: argparse.Namespace) -> int:
    """Play, then print the leaderboard."""
    from game.cli._names import shipped_auditors, shipped_yardsticks
    from game.cli._rounds import play, show

    names = shipped_auditors() if args.auditors is None else args.auditors
    missing = [name for name in shipped_yardsticks() if name not in names]
    return show(args, play(args, args.suite, [*names, *missing]), [])
