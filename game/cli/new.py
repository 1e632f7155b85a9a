"""Begin an auditor or a red strategy: write a working folder with code, manifest, test and README."""

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_output_options

    roles = parser.add_subparsers(title="what", metavar="WHAT", required=True)
    summaries = {"auditor": "a strategy that looks for edits", "red": "a strategy that hides one"}
    for role, summary in summaries.items():
        each = roles.add_parser(role, help=summary, description=summary, allow_abbrev=False)
        each.set_defaults(role=role)
        each.add_argument("name", metavar="NAME", help="lower case, such as norm_outlier")
        each.add_argument(
            "--into",
            type=Path,
            metavar="FOLDER",
            help="new or empty (default: ./NAME); nothing is overwritten",
        )
        add_output_options(each)


def run(args: argparse.Namespace) -> int:
    """Write the folder, print its files and what to do next."""
    from game.cli._faults import CommandError
    from game.plugins.scaffold import NewError, check_new_name, write_plugin

    folder = args.into or Path(args.name)
    try:
        check_new_name(args.name, _taken(args.role))
        paths = write_plugin(args.role, args.name, folder)
    except NewError as error:
        raise CommandError(str(error)) from error
    if args.json:
        from game.cli._rounds import print_json

        print_json({"kind": "new", "role": args.role, "name": args.name, "files": list(map(str, paths))})
    elif args.display != "none":
        for path in paths:
            print(path)
    if args.display == "rich" and not args.json:
        from game.cli._progress import say

        say(f"next: audit-game check {folder}/")
    return 0


def _taken(role: str) -> list[str]:
    """Names that are listed for that role."""
    from game.catalogue import auditors, strategies

    return [entry.name for entry in (auditors() if role == "auditor" else strategies())]
