"""The end of a case that was played by hand: truth, belief, score, claims, and what auditors believed."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from game.cli._faults import told_to_user

if TYPE_CHECKING:
    from game.blue.claims import Comparison
    from game.blue.panel import Opinion
    from game.loader import LoadedAuditor
    from game.report.debrief import Debrief


def show_debrief(args: argparse.Namespace, folder: Path) -> None:
    """Print a case's debrief, then what each auditor of the panel makes of it."""
    with told_to_user():
        debrief, claims = _debrief(folder)
    if args.json:
        from game.blue.telling import debrief_data
        from game.cli._rounds import print_json

        print_json(debrief_data(debrief, claims))
    elif args.display == "plain":
        from game.report.tabbed import debrief_lines

        print("\n".join(debrief_lines(debrief)))
    elif args.display == "rich":
        _print_tables(debrief, claims)
    _show_panel(args, folder)


def _debrief(folder: Path) -> "tuple[Debrief, list[tuple[Comparison, ...]]]":
    from game.blue.claims import compared
    from game.report.debrief import Debrief
    from game.runs.store import read_run

    with read_run(folder) as store:
        (case,), (record,) = store.cases(), store.rounds()
    return Debrief(case, record), [compared(claim, case.truth, case.base) for claim in record.claims]


def _print_tables(debrief: "Debrief", claims: "list[tuple[Comparison, ...]]") -> None:
    from game.cli._console import console
    from game.report.blue_view import claims_view
    from game.report.terminal import debrief_view

    console().print(debrief_view(debrief))
    if claims:
        console().print("claims beside the truth (not scored)", style="bold")
        console().print(claims_view(claims))


def _show_panel(args: argparse.Namespace, folder: Path) -> None:
    """Let the auditors play that have not yet, and print them beside the player."""
    with told_to_user():
        players = _players(args)
        if not players:
            return
        found = _asked(folder, players)
    if args.json:
        from game.cli._rounds import print_json

        for each in found:
            print_json({"kind": "opinion", **asdict(each)})
    elif args.display == "plain":
        for each in found:
            belief = "" if each.p_edited is None else f"{each.p_edited:.4f}"
            print("\t".join(("opinion", each.auditor, belief, each.top, f"{each.headline:.4f}")))
    elif args.display == "rich":
        from game.cli._console import console
        from game.report.blue_view import opinions_view

        console().print("the same case, as auditors see it", style="bold")
        console().print(opinions_view(found))


def _players(args: argparse.Namespace) -> "list[LoadedAuditor]":
    from game.cli._cases import panel_names
    from game.cli._names import load_auditors

    return load_auditors(panel_names(args.panel), [])


def _asked(folder: Path, players: "list[LoadedAuditor]") -> "list[Opinion]":
    from game.blue.panel import kept_opinions, opinions, own_opinion
    from game.cli._progress import say

    left = len({player.name for player in players} - kept_opinions(folder).keys())
    if left:
        say(f"{left} auditors play the same case; Ctrl-C skips them, `case status` asks again")
    found = [own_opinion(folder)]
    try:
        found.extend(opinions(folder, players))
    except KeyboardInterrupt:
        say(f"skipped after {len(found) - 1} of {len(players)}")
    return found
