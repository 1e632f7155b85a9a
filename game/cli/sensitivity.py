"""Tell from a finished run how strong an edit must be before each auditor finds it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from game.report.sensitivity_view import Sensitivity
    from game.runs.store import Store

FORMS = (".png", ".svg")


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_log_dir, add_output_options, names

    parser.add_argument(
        "run_or_suite",
        nargs="?",
        metavar="RUN|SUITE",
        help="a run's folder, or a suite: its newest finished run (default: the newest finished run)",
    )
    parser.add_argument(
        "--auditors", type=names, metavar="A[,B]", help="only these (default: all that are ranked)"
    )
    parser.add_argument("--save", type=_picture, metavar="FILE", help="the plot, as .png or .svg")
    add_log_dir(parser)
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print a table for each family that was dealt at several strengths."""
    from game.cli._progress import say
    from game.report.sensitivity_view import (
        sensitivity_data,
        sensitivity_lines,
        sensitivity_picture,
        sensitivity_view,
    )

    folder, found = _found(args)
    say(f"run {folder}")
    if args.json:
        from game.cli._rounds import print_json

        for row in sensitivity_data(found):
            print_json(row)
    elif args.display == "plain":
        print("\n".join(sensitivity_lines(found)))
    elif args.display == "rich":
        from game.cli._console import console

        console().print(sensitivity_view(found))
    if args.save:
        _write(args.save, sensitivity_picture(found, args.save.suffix[1:]))
        say(f"plot {args.save}")
    return 0


def _found(args: argparse.Namespace) -> "tuple[Path, Sequence[Sensitivity]]":
    """The run's folder, and what it says.

    Raises:
        CommandError: No such run or auditor, or no family at several strengths.
    """
    from game.cli._faults import CommandError, told_to_user

    with told_to_user():
        from game.report.sensitivity_view import Sensitivity
        from game.runs.store import read_run
        from game.standings.readouts import readouts

        folder = _folder(args)
        with read_run(folder) as store:
            _require_finished(folder, store)
            cases, rounds = store.cases(), store.rounds()
        told = readouts(cases, rounds, _auditors(args, sorted({each.auditor for each in rounds})))
        found = [Sensitivity(each.auditor, curve) for each in told for curve in each.doses]
    if not found:
        raise CommandError(f"{folder}: no family of edits was dealt at several strengths in this run")
    return folder, found


def _folder(args: argparse.Namespace) -> Path:
    """The folder of the run that was asked for.

    Raises:
        CommandError: There is none.
    """
    from game.catalogue import suites
    from game.cli._faults import CommandError
    from game.cli._names import check_name, is_path, load_suite

    asked = args.run_or_suite
    if asked is not None and Path(asked).is_dir():
        return Path(asked)
    if asked is not None and not is_path(asked):
        check_name("run or suite", asked, suites())
    elif asked is not None and not asked.endswith((".yaml", ".yml")):
        raise CommandError(f"{asked}: no such folder; allowed: a run's folder, or a suite")
    suite = load_suite(asked).name if asked is not None else None
    folder = _newest(args.log_dir, suite)
    if folder is None:
        of = f" of {suite}" if suite else ""
        again = f"audit-game tournament run {asked or 'SUITE'}"
        raise CommandError(f"--log-dir {args.log_dir}: no finished run{of}; {again} plays one")
    return folder


def _newest(log_dir: Path, suite: str | None) -> Path | None:
    """The newest finished run, of that suite if one is named; what cannot be read is passed over."""
    from game.runs.database import StoreError
    from game.runs.run_folder import DATABASE, folders_of
    from game.runs.store import read_run

    everything = sorted((path.parent for path in log_dir.glob(f"*/{DATABASE}")), reverse=True)
    for folder in folders_of(log_dir, suite) if suite else everything:
        try:
            with read_run(folder) as store:
                run = store.run()
        except StoreError:
            continue
        if run.state == "finished" and suite in (None, run.suite):
            return folder
    return None


def _require_finished(folder: Path, store: "Store") -> None:
    from game.cli._faults import CommandError

    if store.run().state != "finished":
        raise CommandError(f"{folder}: is not finished; the command that began it goes on with it")


def _auditors(args: argparse.Namespace, played: "Sequence[str]") -> "list[str]":
    """Those that were asked for, or all that are ranked."""
    from game.cli._faults import CommandError
    from game.cli._names import shipped_yardsticks
    from models.naming import unknown

    for name in args.auditors or ():
        if name not in played:
            raise CommandError(f"--auditors: {unknown('auditor', name, played)}")
    return args.auditors or [name for name in played if name not in shipped_yardsticks()]


def _write(path: Path, data: bytes) -> None:
    from game.cli._faults import CommandError
    from models.checkpoints import write_atomically

    try:
        write_atomically(path, data)
    except OSError as error:
        raise CommandError(f"--save {path}: {error.strerror}") from error


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix not in FORMS:
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted a file that ends in {' or '.join(FORMS)}")
    return path
