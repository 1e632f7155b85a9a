"""Play one side: blue by hand or by an auditor, or red by an edit or a strategy against a panel."""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._cases import add_deal_options
    from game.cli._options import add_run_options, add_seed, positive, several

    parser.add_argument(
        "target",
        metavar="TARGET",
        help="blue: a suite, or one of its cases as suite:case-007; red: SPEC.yaml, or a strategy",
    )
    parser.add_argument(
        "--as", dest="side", choices=("blue", "red"), default="blue", help="which side (default: blue)"
    )
    parser.add_argument(
        "--auditor", metavar="NAME", help="blue: a shipped auditor, or file.py@Class (default: you, by hand)"
    )
    by_hand = parser.add_argument_group("blue, by hand")
    by_hand.add_argument("--case", metavar="CASE", help="one of the suite's cases, as suite:case-007 is")
    add_deal_options(by_hand)
    by_hand.add_argument(
        "--panel", metavar="A,B", help="auditors to compare with; red: to hide from (default: all shipped)"
    )
    red = parser.add_argument_group("red")
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
    parser.set_defaults(seed=None)  # a case by hand is sealed without


def run(args: argparse.Namespace) -> int:
    """Play, then tell for each round what was believed and where it really was, or how well red hid."""
    from game.cli._faults import CommandError

    target = f"{args.target}:{args.case}" if args.case else args.target
    if args.side == "blue" and args.auditor is None:
        from game.cli._shell import play_by_hand

        args.panel = None if args.panel is None else args.panel.split(",")
        return play_by_hand(args, target)
    if args.sealed or args.new_worlds or args.new:
        raise CommandError("--sealed, --new-worlds, --new: of a case by hand, without --auditor or --as red")
    args.seed = args.seed or 0
    if args.side == "red":
        from game.cli._red import play_red

        return play_red(args)
    from game.cli._rounds import debriefs, play, show

    suite, _, case_id = target.partition(":")
    result = play(args, suite, [args.auditor], case_id)
    return show(args, result, debriefs(result))
