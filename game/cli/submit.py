"""Submit an auditor: its contract, fully logged rounds on a small suite, then its digest in the register."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from game.plugins.place import Place
    from game.plugins.register import Submission
    from game.runs.tournament import RunResult


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._isolation import add_isolation
    from game.cli._options import add_log_dir, add_output_options
    from game.cli.check import add_deadline

    parser.add_argument("folder", metavar="PATH", help="a folder with auditor.yaml")
    parser.add_argument("--suite", default="smoke", help="what its logged rounds are of (default: smoke)")
    add_deadline(parser)
    add_log_dir(parser)
    parser.set_defaults(seed=0, budget=None, settings=[], device="cpu", rated=False)
    add_isolation(parser)
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print what was found and the digest; 1 if the contract is broken or a round failed."""
    from dataclasses import replace

    from game.cli._contract import checked_at, show
    from game.cli._faults import told_to_user
    from game.cli._rounds import play

    place = _place(args.folder)
    args.reference = place.absolute
    with checked_at(args) as (tier, found):
        broken = show(args, args.folder, tier, found)
    with told_to_user():
        from game.plugins.register import keep

        first = _submission(place, tier)
        if broken:
            keep(replace(first, status="broken", summary=f"{broken[0].rule}: {broken[0].message}"[:300]))
            return _told(args, replace(first, status="broken"), None)
        keep(first)
    result = play(args, args.suite, [place.absolute])
    with told_to_user():
        wrong = _wrong(place, result)
        last = replace(
            first,
            status="broken" if wrong else "checked",
            summary=wrong or first.summary,
            run=str(result.folder.resolve()),
            tier=result.rounds[0].tier,
        )
        keep(last)
    return _told(args, last, result)


def _place(folder: str) -> "Place":
    """The auditor in a folder, whose name nobody else has.

    Raises:
        CommandError: There is none, or its name is taken.
    """
    from game.catalogue import auditors
    from game.cli._faults import CommandError, told_to_user
    from game.cli._names import installed_auditors

    with told_to_user():
        from game.loader import AUDITOR
        from game.plugins.place import place_of
        from game.plugins.register import submission
        from game.plugins.scaffold import NewError, check_new_name

        place = place_of(AUDITOR.manifest, folder if "/" in folder else f"{folder}/")
        assert place is not None  # with a slash it is a folder's
        try:
            check_new_name(place.name, [*(entry.name for entry in auditors()), *installed_auditors()])
        except NewError as error:
            raise CommandError(f"{folder}: {error}") from error
        known = submission(place.name)
        if known is not None and known.folder != str(place.code) and known.now() != "broken":
            raise CommandError(
                f"{folder}: name: {place.name} was submitted from {known.folder}; choose another in "
                f"{AUDITOR.manifest}"
            )
        return place


def _submission(place: "Place", tier: str) -> "Submission":
    from datetime import UTC, datetime

    from game.loader import AUDITOR
    from game.plugins.register import Submission
    from game.testing.source import Source
    from models.naming import one_line

    assert place.manifest is not None  # a folder has one
    try:
        summary = Source.read(place.file, place.class_name, AUDITOR.method).summary
    except SyntaxError:
        summary = ""
    return Submission(
        name=place.name,
        version=place.manifest.version,
        folder=str(place.code),
        digest=place.digest(),
        status="listed",
        summary=one_line(summary)[:300],
        tier=tier,
        run="",
        submitted=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _wrong(place: "Place", result: "RunResult") -> str:
    """What was wrong in the logged rounds; empty if nothing was."""
    from game.plugins.manifest import AuditorManifest

    assert isinstance(place.manifest, AuditorManifest)
    for each in result.rounds:
        if each.status != "DONE":
            return f"{each.case_id}: {each.status}: {each.error}"
        if each.spent > place.manifest.budget:
            said = f"{place.manifest.budget:g}"
            return f"{each.case_id}: spent {each.spent:g} credits; its manifest says {said}"
    return ""


def _told(args: argparse.Namespace, found: "Submission", result: "RunResult | None") -> int:
    from game.cli._rounds import print_json

    skill = None if result is None else result.leaderboard.rows[0].skills.headline
    rounds = 0 if result is None else len(result.rounds)
    if args.json:
        row = {"kind": "submission", "rounds": rounds, "headline": None if skill is None else skill.mean}
        print_json(row | vars(found))
    elif args.display == "plain":
        print("\t".join((found.name, found.status, found.digest, found.run)))
    elif args.display == "rich":
        print(f"\n{found.name} {found.version}: {found.status}, digest {found.digest}")
        if skill is not None:
            print(
                f"{rounds} rounds of {args.suite} at {found.tier}: headline {skill.mean:+.2f}, all calls in"
            )
            print(found.run)
        if found.status == "broken" and result is not None:
            print(found.summary)
    return 0 if found.status == "checked" else 1
