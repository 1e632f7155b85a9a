"""What `case` and the interactive game share: which case is meant, and how it is shown."""

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from game.cli._faults import CommandError, told_to_user

if TYPE_CHECKING:
    from game.api import Brief, Judgement, Report
    from game.blue.opening import Standing, Wanted
    from game.blue.play import Play

NONE = 5  # the exit code of a valid choice that nothing matches


def add_deal_options(parser: argparse._ActionsContainer) -> None:
    """Which draw of a case, beside the seed."""
    parser.add_argument(
        "--sealed", action="store_true", help="deal from a fresh secret, revealed at the end (the default)"
    )
    parser.add_argument(
        "--new-worlds", action="store_true", help="a sealed case on models trained for it alone (minutes)"
    )
    parser.add_argument("--new", action="store_true", help="deal another one though one like it is open")


def add_log_dir(parser: argparse._ActionsContainer) -> None:
    """Where cases are kept."""
    parser.add_argument(
        "--log-dir", type=Path, default=Path("logs"), metavar="DIR", help="where cases are kept (./logs)"
    )


def add_which(parser: argparse._ActionsContainer) -> None:
    """Which of the cases that were dealt."""
    parser.add_argument(
        "--case", metavar="CASE", help="its folder, or part of its name (default: the one that is open)"
    )
    add_log_dir(parser)


def wanted(args: argparse.Namespace, target: str) -> "Wanted":
    """The case that `SUITE[:CASE]` and the flags ask for.

    Raises:
        CommandError: They contradict each other, or the suite is unknown.
    """
    from game.blue.opening import Wanted
    from game.cli._names import load_suite

    if args.seed is not None and (args.sealed or args.new_worlds):
        flag = "--sealed" if args.sealed else "--new-worlds"
        raise CommandError(f"--seed: got together with {flag}; a case is dealt from a seed or from a secret")
    suite, _, case_id = target.partition(":")
    return Wanted(load_suite(suite, args.budget), case_id, args.seed, args.new_worlds, args.new)


def dealt(args: argparse.Namespace, target: str) -> Path:
    """The folder of the case, dealt if it must be.

    Raises:
        CommandError: Something that the user can put right.
    """
    asked = wanted(args, target)
    with dealing(args) as on_event, told_to_user():
        from game.blue.opening import open_case

        try:
            return open_case(asked, args.log_dir, on_event)
        except OSError as error:
            raise CommandError(f"--log-dir {args.log_dir}: {error.strerror}") from error


@contextmanager
def dealing(args: argparse.Namespace) -> Iterator[Any]:
    """Progress while a case is dealt, as the flags and the terminal allow."""
    from game.cli._progress import watching

    with watching(args) as watch:
        yield watch


def find_case(args: argparse.Namespace, over: bool = False) -> "Standing":
    """The case that is meant: by its folder or part of its name, or the only open one.

    Args:
        args: With the flags of `add_which`.
        over: Whether the newest finished one will do where none is open.

    Raises:
        CommandError: None or several fit.
    """
    with told_to_user():
        from game.blue.opening import cases_in, standing

        if args.case and Path(args.case).is_dir():
            return standing(Path(args.case))
        known = cases_in(args.log_dir)
    found = [each for each in known if args.case in each.folder.name] if args.case else known
    open_ones = [each for each in found if each.stage != "over"]
    if not args.case:
        found = open_ones or (found[:1] if over else [])
    if len(found) == 1:
        return found[0]
    if not found:
        what = f"no case {args.case!r}" if args.case else "no open case"
        raise CommandError(f"--case: {what} in {args.log_dir}; `audit-game case open SUITE` deals one", NONE)
    names = ", ".join(each.folder.name for each in found)
    raise CommandError(f"--case: {len(found)} cases fit; wanted one of {names}")


@contextmanager
def played(standing: "Standing") -> "Iterator[Play]":
    """A case open for writing; what its rules refuse becomes one message.

    Raises:
        CommandError: The rules refuse something, or another process plays the case.
    """
    from game.cli._faults import CommandError

    if standing.stage == "over":
        raise CommandError(f"{standing.folder}: the case is over; `audit-game case status` shows its end")
    with told_to_user():
        from game.blue.play import StageError, playing
        from game.rules.faults import ReportError

        try:
            with playing(standing.folder) as play:
                yield play
        except (ReportError, StageError) as error:
            raise CommandError(str(error)) from error


def read_json(text: str, where: str) -> Any:
    """JSON given inline, in a file, or on stdin as `-`.

    Raises:
        CommandError: It cannot be read, or is no JSON.
    """
    import sys

    try:
        if not text.lstrip().startswith(("{", "[")):
            text = sys.stdin.read() if text == "-" else Path(text).read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise CommandError(f"{where}: {text}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        quotes = """in quotes, such as '{"family": "rrome"}'"""
        raise CommandError(
            f"{where}: no JSON: {error}; wanted a file, - for stdin, or JSON {quotes}"
        ) from error


def report_from(args: argparse.Namespace, belief: Any, brief: "Brief") -> "Report":
    """The report that the flags state; what they leave out is the running belief's.

    Raises:
        CommandError: There is no P(edited), or a file cannot be read.
        ReportError: They state no report.
    """
    from game.blue.sayings import places, report_of

    data: dict[str, Any] = dict(belief or {})
    if args.file is not None:
        found = read_json(args.file, "--file")
        if not isinstance(found, dict):
            raise CommandError('--file: got no object; wanted {"p_edited": ..., "components": {...}, ...}')
        data = found
    if args.p_edited is not None:
        named = {str(component): p for component, p in places(args.at, brief).items()}
        data = {**data, "p_edited": args.p_edited, "components": named}
    elif args.at:
        raise CommandError("--at: got without --p-edited; wanted both, such as --p-edited 0.8 --at NAME=0.7")
    if "p_edited" not in data:
        raise CommandError("--p-edited: missing, and no belief was noted; wanted a number from 0 to 1")
    if args.claims is not None:
        found = read_json(args.claims, "--claims")
        data["claims"] = [found] if isinstance(found, dict) else found
    if args.notes is not None:
        data["notes"] = args.notes
    return report_of(data)


def add_report_options(parser: argparse._ActionsContainer) -> None:
    """What a report says."""
    parser.add_argument("--p-edited", type=float, metavar="P", help="probability that the model was edited")
    parser.add_argument(
        "--at",
        nargs="+",
        default=[],
        action="extend",
        metavar="NAME=P",
        help="probability that it was edited and this component written to",
    )
    parser.add_argument("--claims", metavar="JSON", help="claims for the debrief: a file, or inline")
    parser.add_argument("--notes", metavar="TEXT", help="for the debrief")
    parser.add_argument("--file", metavar="JSON", help="the whole report: a file, -, or inline")


def add_judge_options(parser: argparse._ActionsContainer) -> None:
    """What is believed of a challenge."""
    parser.add_argument("answer", nargs="?", metavar="JSON", help="probabilities: a file, - or inline")
    for flag, what in (("--set", "edited, and this set is about it"), ("--prompt", "its answer changed")):
        name = flag.removeprefix("--") + "s"
        parser.add_argument(flag, dest=name, nargs="+", action="extend", default=[], metavar="N=P", help=what)
    parser.add_argument("--all", dest="every", action="store_true", help="show every prompt, not every set")


def judgement_from(args: argparse.Namespace, play: "Play") -> "Judgement | None":
    """The judgement that the flags state; None if they state none.

    Raises:
        CommandError: They state two.
        ReportError: They state no judgement.
    """
    from game.blue.sayings import judgement_of_data, judgement_of_sets, shares

    if args.answer is not None:
        if args.sets or args.prompts:
            raise CommandError("judge: got JSON together with --set or --prompt; wanted one of the two")
        return judgement_of_data(read_json(args.answer, "judge"))
    if not (args.sets or args.prompts) or play.said is None:
        return None
    sets, prompts, said = shares(args.sets), shares(args.prompts), play.said["p_edited"]
    return judgement_of_sets(play.challenge(), sets, prompts, said, play.brief.prior)


def panel_names(wanted: Sequence[str] | None) -> list[str]:
    """Auditors that are asked afterwards: those named, or every shipped one.

    Raises:
        CommandError: An unknown one.
    """
    from game.catalogue import auditors
    from game.cli._names import check_name, is_path, shipped_auditors

    named = shipped_auditors() if wanted is None else [name for name in wanted if name != "none"]
    for name in named:
        if not is_path(name):
            check_name("auditor", name, auditors())
    return named
