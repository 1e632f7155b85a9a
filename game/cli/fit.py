"""Fit what auditors believe to labelled practice cases, and write it beside them."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from game.auditing.belief import Fit
    from game.dealing.suite import Suite
    from game.fitting.fit import Fitted
    from game.fitting.practice import Practice
    from game.fitting.readings import Reading
    from game.loader import LoadedAuditor
    from game.runs.tournament import OnEvent


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_auditor_settings, add_output_options, names, positive

    told = "those who have `read`: shipped ones, or file.py@Class, whose code runs in this process"
    parser.add_argument("auditors", type=names, metavar="AUDITOR[,B]", help=told)
    parser.add_argument("--suite", default="dev", help="what to practise on (default: dev)")
    parser.add_argument("--cases", type=positive, metavar="N", help="only the first N (default: all)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="where the one auditor's fit goes (default: beside its file)"
    )
    add_auditor_settings(parser)
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Read and fit one auditor after the other; what was read before is not read again."""
    from game.cli._faults import CommandError, told_to_user
    from game.cli._names import load_auditors, load_suite
    from game.cli._progress import say, watching

    if args.out is not None and len(args.auditors) > 1:
        raise CommandError(f"--out {args.out}: one file, and {len(args.auditors)} auditors")
    suite = load_suite(args.suite)
    players = load_auditors(args.auditors, args.settings)
    for player in players:
        with watching(args) as watch, told_to_user():
            fit, rows = _fitted(player, suite, args.cases or suite.n_cases, watch)
            path = _written(fit, player, args.out)
        _show(args, fit, rows)
        say(f"fit {path}")
    return 0


def _fitted(
    player: "LoadedAuditor", suite: "Suite", cases: int, on_event: "OnEvent"
) -> "tuple[Fit, Sequence[Fitted]]":
    from game.fitting.fit import fit_of
    from game.fitting.practice import Practice
    from game.fitting.team import members_of, team_fit_of
    from game.runs.events import CaseAwaited, ModelTraining
    from models.training import Progress

    def on_step(model: str, progress: Progress) -> None:
        on_event(ModelTraining(model, progress.step, progress.steps))

    practice = Practice(suite, cases, lambda case_id: on_event(CaseAwaited(case_id)), on_step)
    members = members_of(player.auditor)
    if not members:
        return fit_of(player.name, practice.suite, _readings(player, practice, on_event))
    readings = {each.name: _readings(each, practice, on_event) for each in members}
    return team_fit_of(player.name, practice.suite, readings)


def _readings(player: "LoadedAuditor", practice: "Practice", on_event: "OnEvent") -> "list[Reading]":
    """What one auditor reads of every case."""
    from game.fitting.readings import Reader
    from game.runs.events import RoundEnded, RoundStarted

    reader, found = Reader(player, practice), []
    for case_id in practice.ids:
        on_event(RoundStarted(case_id, player.name))
        found.append(reader.reading(case_id))
        on_event(RoundEnded(case_id, player.name, False, len(found), len(practice.ids)))
    return found


def _written(fit: "Fit", player: "LoadedAuditor", out: Path | None) -> Path:
    """The fit's file, written.

    Raises:
        CommandError: It cannot be.
    """
    from game.cli._faults import CommandError
    from game.sources import fit_file, source_of

    path = out or fit_file(source_of(player.auditor))
    try:
        path.write_text(json.dumps(fit.to_json(), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def _show(args: argparse.Namespace, fit: "Fit", rows: "Sequence[Fitted]") -> None:
    from game.report.fit_view import fit_data, fit_lines, fit_view

    if args.json:
        from game.cli._rounds import print_json

        for row in rows:
            print_json(fit_data(fit, row))
    elif args.display == "plain":
        print("\n".join(fit_lines(fit, rows)))
    elif args.display == "rich":
        from game.cli._console import console

        console().print(fit_view(fit, rows))
