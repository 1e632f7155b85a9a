"""Hold an auditor or a red strategy to its contract before anybody plays with it."""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_output_options

    parser.add_argument(
        "reference", metavar="PATH", help="a folder with auditor.yaml, file.py@Class, or a name"
    )
    add_deadline(parser)
    parser.add_argument(
        "--isolation",
        choices=("auto", "none"),
        default="auto",
        help="auto: in the strongest jail there is; none: in this process, where prints and debuggers "
        "work (default: auto)",
    )
    add_output_options(parser)


def add_deadline(parser: argparse.ArgumentParser) -> None:
    """How long each round of the contract may take."""
    from game.cli._options import seconds

    parser.add_argument(
        "--deadline",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="for each round of the contract (default: 30)",
    )


def run(args: argparse.Namespace) -> int:
    """Print a row for each rule; 1 if one is broken."""
    from game.cli._contract import checked_at, show

    with checked_at(args) as (tier, found):
        return 1 if show(args, args.reference, tier, found) else 0
