"""What `demo`, `play` and `tournament run` share: play a suite, then print what came out."""

import argparse
import json
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from game.cli._faults import CommandError, told_to_user
from game.cli._isolation import isolated
from game.cli._names import load_auditors, load_suite
from game.cli._progress import say, watching

if TYPE_CHECKING:
    from game.dealing.suite import Suite
    from game.loader import LoadedAuditor
    from game.report.debrief import Debrief
    from game.runs.tournament import OnEvent, RunResult
    from game.standings.readouts import Readouts


def play(
    args: argparse.Namespace, suite_name: str, references: Sequence[str], case_id: str = ""
) -> "RunResult":
    """Every one of those auditors on every case of the suite, or on one case.

    Args:
        args: With the flags of `add_run_options`.
        suite_name: A shipped suite, or a file.
        references: Auditors.
        case_id: The one case to play; empty for all.

    Raises:
        CommandError: Something that the user can put right.
    """
    check_device(args.device)
    suite = load_suite(suite_name, args.budget)
    _make_folder(args)
    with isolated(args, references) as isolation:
        players = load_auditors(references, args.settings, isolation)
        return _played(args, suite, players, case_id)


def _played(
    args: argparse.Namespace, suite: "Suite", players: "list[LoadedAuditor]", case_id: str
) -> "RunResult":
    with watching(args) as watch, told_to_user():
        from game.runs.tournament import play_source, suite_source

        if args.rated:
            _require_no_leak(suite, watch)
        source = replace(suite_source(suite, watch), rated=args.rated)
        chosen = source.only(case_id) if case_id else source
        return play_source(chosen, players, args.seed, args.log_dir, watch, args.device)


def _require_no_leak(suite: "Suite", on_event: "OnEvent") -> None:
    """Nothing, if a self-check of this suite and code has passed, or passes now."""
    from game.runs.events import CaseAwaited, ModelTraining
    from game.selfcheck.gate import require_no_leak
    from models.training import Progress

    def on_step(model: str, progress: Progress) -> None:
        on_event(ModelTraining(model, progress.step, progress.steps))

    found = require_no_leak(suite, lambda case: on_event(CaseAwaited(f"{case} of the self-check")), on_step)
    say(f"no leak found in a self-check of {found.cases} cases, {found.edited} of them edited")


def check_device(device: str) -> None:
    """Nothing, where torch can use the device.

    Raises:
        CommandError: It cannot.
    """
    if device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise CommandError(f"--device {device}: torch {torch.__version__} finds none here; allowed: cpu")


def debriefs(result: "RunResult") -> "list[Debrief]":
    """Every round with its case revealed, in the order they were played."""
    from game.report.debrief import Debrief

    cases = {case.id: case for case in result.cases}
    return [Debrief(cases[record.case_id], record) for record in result.rounds]


def show(args: argparse.Namespace, result: "RunResult", shown: "Sequence[Debrief]") -> int:
    """Print debriefs, then the leaderboard; with --json every round. The exit code: 1 after failed rounds."""
    if args.json:
        for each in debriefs(result):
            print_json(_round_data(each))
        print_json(
            result.leaderboard.to_dict() | {"readouts": [each.to_dict() for each in _readouts(result)]}
        )
    elif args.display == "plain":
        _print_tabbed(result, shown)
    elif args.display == "rich":
        _print_tables(result, shown)
    return 1 if any(record.status != "DONE" for record in result.rounds) else 0


def print_json(data: dict[str, Any]) -> None:
    """One line of JSON; what is no finite number becomes null, which every reader of JSON knows."""
    print(json.dumps(_finite(data), allow_nan=False))


def _print_tabbed(result: "RunResult", shown: "Sequence[Debrief]") -> None:
    from game.report.readouts_view import readout_lines
    from game.report.tabbed import debrief_lines, leaderboard_lines

    for each in shown:
        print("\n".join(debrief_lines(each)))
    print("\n".join(leaderboard_lines(result.leaderboard)))
    print("\n".join(readout_lines(_readouts(result))))


def _print_tables(result: "RunResult", shown: "Sequence[Debrief]") -> None:
    from game.cli._console import console
    from game.report.readouts_view import readouts_view
    from game.report.terminal import debrief_view, leaderboard_view

    screen = console()
    for each in shown:
        screen.print(debrief_view(each))
    screen.print(leaderboard_view(result.leaderboard))
    screen.print(readouts_view(_readouts(result)))


def _readouts(result: "RunResult") -> "tuple[Readouts, ...]":
    """What the run says beside its skills, auditors in the order of the leaderboard."""
    from game.standings.readouts import readouts

    return readouts(result.cases, result.rounds, [row.auditor for row in result.leaderboard.rows])


def _round_data(debrief: "Debrief") -> dict[str, Any]:
    case, record, score = debrief.case, debrief.record, debrief.record.score
    return {
        "kind": "round",
        "case": case.id,
        "auditor": record.auditor,
        "status": record.status,
        "error": record.error,
        "p_edited": record.p_edited,
        "components": record.components,
        "notes": record.notes,
        "claims": record.claims,
        "headline": debrief.headline,
        "detection": score.detection,
        "localisation": score.localisation,
        "behaviour": score.behaviour,
        "repair": score.repair,
        "log_score_bits": score.log_score_bits,
        "spent": record.spent,
        "wall_s": record.wall_s,
        "cpu_s": record.cpu_s,
        "tier": record.tier,
        "readouts": dict(record.readouts),
        "truth": _truth_data(debrief),
    }


def _truth_data(debrief: "Debrief") -> dict[str, Any]:
    truth = debrief.case.truth
    return {
        "edited": truth.edited,
        "written": [str(component) for component in sorted(truth.written)],
        "group": truth.group,
        "kind": truth.kind,
        "base": debrief.case.base,
        "summary": truth.summary,
    }


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _make_folder(args: argparse.Namespace) -> None:
    try:
        args.log_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"--log-dir {args.log_dir}: {error.strerror}") from error
    if not os.access(args.log_dir, os.W_OK):
        raise CommandError(f"--log-dir {args.log_dir}: cannot be written to")
