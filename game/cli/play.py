"""Play one side: an auditor on a suite or one case of it, or an edit or red strategy against a panel."""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_run_options, add_seed, positive, several

    parser.add_argument(
        "target",
        metavar="TARGET",
        help="blue: a suite, or one of its cases as suite:case-007; red: SPEC.yaml, or a strategy",
    )
    parser.add_argument(
        "--as", dest="side", choices=("blue", "red"), default="blue", help="which side (default: blue)"
    )
    parser.add_argument("--auditor", metavar="NAME", help="blue: a shipped auditor, or file.py@Class")
    red = parser.add_argument_group("red")
    red.add_argument("--panel", metavar="A,B", help="auditors to hide from (default: every shipped player)")
    red.add_argument("--recipe", metavar="RECIPE", help="of the models (default: one that suits the kind)")
    add_seed(red, "--world", "world and training seed on which SPEC.yaml itself is applied")
    red.add_argument(
        "--cases", type=several, default=12, metavar="N", help="cases at each strength (default: 12)"
    )
    red.add_argument("--checkpoints", type=positive, default=4, metavar="N", help="models (default: 4)")
    red.add_argument(
        "--trials", type=positive, default=4, metavar="N", help="a strategy's trials (default: 4)"
    )
    add_run_options(parser)


def run(args: argparse.Namespace) -> int:
    """Play, then tell for each round what was believed and where it really was, or how well red hid."""
    from game.cli._faults import CommandError

    if args.side == "red":
        from game.cli._red import play_red

        return play_red(args)
    from game.cli._rounds import debriefs, play, show

    if args.auditor is None:
        raise CommandError("--auditor: wanted, to play blue; audit-game list auditors shows them")
    suite, _, case_id = args.target.partition(":")
    result = play(args, suite, [args.auditor], case_id)
    return show(args, result, debriefs(result))
