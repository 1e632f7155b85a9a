"""Check that a run is what it claims to be: files, commitments, chain, and every score once more."""

import argparse
import string
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from game.proof.verify import Verification


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_output_options, add_seed, positive

    parser.add_argument("run_folder", metavar="RUN", type=Path, help="the run's folder")
    parser.add_argument(
        "--head",
        type=_digest,
        metavar="HEX",
        help="a digest that was published, before the first round or at the end: it must be this run's",
    )
    parser.add_argument(
        "--redeal", type=positive, default=0, metavar="N", help="deal N cases again and compare the models"
    )
    add_seed(parser, "--seed", "which cases --redeal chooses")
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Check, show what was checked; 3 if anything does not hold."""
    from game.cli._faults import CommandError, told_to_user
    from game.proof.verify import NoRunError, Wanted, verify

    try:
        with told_to_user():
            found = verify(args.run_folder, Wanted(args.head or "", args.redeal, args.seed))
    except NoRunError as error:
        raise CommandError(str(error)) from error
    _show(args, found)
    return 3 if found.faults else 0


def _show(args: argparse.Namespace, found: "Verification") -> None:
    from game.report.verify_view import verification_data, verification_lines, verification_view

    if args.json:
        from game.cli._rounds import print_json

        for line in verification_data(found):
            print_json(line)
    elif args.display == "plain":
        print("\n".join(verification_lines(found)))
    elif args.display == "rich":
        from game.cli._console import console

        console().print(verification_view(found))


def _digest(text: str) -> str:
    if len(text) != 64 or not set(text) <= set(string.hexdigits):
        raise argparse.ArgumentTypeError(f"got {text[:80]!r}, wanted 64 hexadecimal digits")
    return text.lower()
