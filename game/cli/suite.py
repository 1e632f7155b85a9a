"""Look at a suite before it is played: its groups, its sites and how much the prior leaves open."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from game.dealing.description import Description
    from game.dealing.suite import Suite
    from models.training import Progress


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_output_options

    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    summary = "show groups, controls, open sites and the prior over components"
    describe = actions.add_parser("describe", help=summary, description=summary, allow_abbrev=False)
    describe.add_argument("suite", metavar="SUITE", help="a shipped suite, or a file")
    add_output_options(describe)


def run(args: argparse.Namespace) -> int:
    """Print the description; models that it depends on are trained first, with progress on stderr."""
    from game.cli._faults import told_to_user
    from game.cli._names import load_suite
    from game.cli._progress import watching

    suite = load_suite(args.suite)
    with watching(args) as watch, told_to_user():
        from game.dealing.dealer import Dealer
        from game.dealing.description import describe
        from game.dealing.master import Master
        from game.runs.events import ModelTraining

        def on_step(model: str, progress: "Progress") -> None:
            watch(ModelTraining(model, progress.step, progress.steps))

        description = describe(Dealer(suite, Master.of_seed(0), on_step))
    _print(args, suite, description)
    return 0


def _print(args: argparse.Namespace, suite: "Suite", description: "Description") -> None:
    from game.report.suite_view import description_data, description_lines, description_view

    if args.json:
        from game.cli._rounds import print_json

        print_json(description_data(suite, description))
    elif args.display == "plain":
        print("\n".join(description_lines(description)))
    elif args.display == "rich":
        from game.cli._console import console

        console().print(description_view(suite, description))
