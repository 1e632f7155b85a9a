"""Playing red: a specification or a strategy faces a panel of auditors, matched controls mixed in."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from game.catalogue import strategies
from game.cli._faults import CommandError, told_to_user
from game.cli._isolation import isolated
from game.cli._names import check_name, is_path, load_auditors, shipped_players
from game.cli._progress import say, watching
from game.cli._rounds import check_device
from game.plugins.reference import is_folder

if TYPE_CHECKING:
    from pathlib import Path

    from game.loader import LoadedAuditor
    from game.red.play import Terms
    from game.report.red_view import Faced
    from game.runs.tournament import RunResult


def play_red(args: argparse.Namespace) -> int:
    """Play, show how well it hid, and keep the plot in the run's folder."""
    check_device(args.device)
    references = args.panel.split(",") if args.panel else shipped_players()
    with isolated(args, references) as isolation:
        panel = load_auditors(references, args.settings, isolation)
        if args.target.endswith((".yaml", ".yml")):
            title, faced, folder = _spec(args, panel)
        else:
            title, faced, folder = _strategy(args, panel)
    _show(args, title, faced, folder)
    return 0


def _spec(args: argparse.Namespace, panel: "list[LoadedAuditor]") -> "tuple[str, list[Faced], Path]":
    """First the edit itself on one model, which must pass its gates; then its like, at each strength."""
    from pathlib import Path

    from game.cli._specs import previewed

    found = previewed(Path(args.target), args.recipe, args.world)
    record = found.edited.record
    failing = [f"{gate.name} {gate.value:.3f}" for gate in record.gates if not gate.passed]
    if failing:
        base = found.base.trained.name
        raise CommandError(f"{args.target}: gates: not met on {base}: {', '.join(failing)}; nothing is dealt")
    if args.display == "rich" and not args.json:
        from game.cli._console import console
        from game.report.edit_view import preview_view

        console().print(preview_view(found), "")
    with watching(args) as watch, told_to_user():
        from edits.base import EditError
        from game.red.play import matching_controls, playable, spec_suite, strengths
        from game.runs.tournament import run_tournament

        try:
            ladder = strengths(found.spec)
        except EditError as error:  # a control
            raise CommandError(f"{args.target}: {error}") from error
        sites = {label: playable(found.base, each, found.spec.camouflage) for label, each in ladder.items()}
        for label in [label for label in ladder if not sites[label]]:
            say(f"{label}: no draw passes its gates on {found.base.trained.name}; not dealt")
            del ladder[label]
        if not ladder:
            raise CommandError(f"{args.target}: no other target passes the gates; nothing is dealt", 1)
        terms = _terms(args, found.base.trained.recipe.name)
        terms = replace(terms, controls=matching_controls(found.edited))
        suite = spec_suite(found.spec, ladder, sites, terms)
        result = run_tournament(suite, panel, args.seed, args.log_dir, watch, args.device)
    groups = [group.name for group in suite.groups]
    faced = [_faced(result, group, label) for group, label in zip(groups, ladder, strict=True)]
    return f"{suite.title}: {found.spec.id}", faced, result.folder


def _strategy(args: argparse.Namespace, panel: "list[LoadedAuditor]") -> "tuple[str, list[Faced], Path]":
    """A strategy's plans for random targets."""
    if not (is_path(args.target) or is_folder(args.target)):
        check_name("red strategy", args.target, strategies())
    with watching(args) as watch, told_to_user():
        from game.loader import load_strategy
        from game.red.strategies import strategy_source
        from game.runs.tournament import play_source

        loaded = load_strategy(args.target, {})
        terms = _terms(args, args.recipe or "facts-small")
        source = strategy_source(loaded, panel, terms, args.seed, watch)
        result = play_source(source, panel, args.seed, args.log_dir, watch, args.device)
    return f"{loaded.name} on {terms.recipe}", [_faced(result, loaded.name, loaded.name)], result.folder


def _terms(args: argparse.Namespace, recipe: str) -> "Terms":
    from game.red.play import Terms

    terms = Terms(recipe=recipe, cases=args.cases, checkpoints=args.checkpoints, trials=args.trials)
    return terms if args.budget is None else terms.with_budget(args.budget)


def _faced(result: "RunResult", group: str, label: str) -> "Faced":
    """What the panel made of one group's cases."""
    from game.red.play import red_score
    from game.report.red_view import Faced

    board = result.leaderboard
    cases = [case for case in result.cases if case.truth.group == group]
    ids = {case.id for case in cases}
    names = [row.auditor for row in board.rows]
    rounds = sorted((each for each in result.rounds if each.case_id in ids), key=lambda each: each.case_id)
    scores = {name: [each.score for each in rounds if each.auditor == name] for name in names}
    return Faced(
        strength=label,
        cases=len(cases),
        edited=sum(case.truth.edited for case in cases),
        redraws=sum(case.truth.record["redraws"] for case in cases),
        skills={each.auditor: each.skills.headline for each in board.groups if each.group == group},
        red_score=red_score(scores, board.parts),
    )


def _show(args: argparse.Namespace, title: str, faced: "list[Faced]", folder: "Path") -> None:
    from game.report.red_view import faced_data, faced_lines, faced_png, faced_view
    from models.checkpoints import write_atomically

    picture = folder / "red.png"
    write_atomically(picture, faced_png(title, faced))
    if args.json:
        from game.cli._rounds import print_json

        print_json(faced_data(title, faced))
    elif args.display == "plain":
        print("\n".join(faced_lines(faced)))
    elif args.display == "rich":
        from game.cli._console import console

        console().print(faced_view(title, faced))
    say(f"plot {picture}")
