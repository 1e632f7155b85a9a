"""What the actions of `case` do."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from game.cli._faults import told_to_user

if TYPE_CHECKING:
    from game.blue.opening import Standing


def opened(args: argparse.Namespace) -> int:
    """Deal a case, or find the open one like it."""
    from game.cli._cases import dealt

    folder = dealt(args, args.suite)
    with told_to_user():
        from game.blue.opening import standing
        from game.blue.telling import brief_data, brief_of, status_data

        found = standing(folder)
        brief = brief_of(found)
    if args.json:
        _print_json(status_data(found) | {"kind": "case", "brief": brief_data(brief)})
    elif args.display != "none":
        _print_plain(args, found, brief)
    return 0


def _print_plain(args: argparse.Namespace, found: "Standing", brief: Any) -> None:
    if args.display == "plain":
        print("\t".join(("case", str(found.folder), found.stage, str(found.run.commitments))))
        return
    from game.cli._console import console
    from game.report.blue_view import brief_view

    draw = "sealed" if found.run.rated else f"open, seed {found.run.seed}"
    console().print(f"{found.case_id} of {found.suite} ({draw}) in {found.folder}")
    console().print(f"committed to as {found.run.commitments}", style="dim", soft_wrap=True)
    console().print(brief_view(brief))


def looked(args: argparse.Namespace) -> int:
    """Run a tool on the case."""
    from game.cli._cases import add_which, find_case, played
    from game.cli._options import add_seed
    from game.cli._tool_run import read_tool, read_words

    def where(group: argparse._ArgumentGroup) -> None:
        add_which(group)
        add_seed(group, "--draw", "seed of the prompts that are drawn")

    tool = read_tool(args.name)
    chosen = read_words(tool, args.rest, where, "audit-game case tool ")
    with played(find_case(chosen)) as play:
        from game.cli._looks import looked_at

        looked_at(play, tool, chosen)
    return 0


def noted(args: argparse.Namespace) -> int:
    """Keep a note."""
    from game.cli._cases import find_case, played

    with played(find_case(args)) as play:
        play.note(args.text)
    if args.json:
        _print_json({"kind": "note", "text": args.text})
    return 0


def believed(args: argparse.Namespace) -> int:
    """Keep a running belief, and show what it would score."""
    from game.blue.sayings import belief_of
    from game.cli._cases import find_case, played
    from game.cli._looks import show_outlook

    with played(find_case(args)) as play:
        belief = belief_of(args.p_edited, args.at, play.brief)
        play.believe(belief)
        show_outlook(args, belief, play.brief)
    return 0


def reported(args: argparse.Namespace) -> int:
    """Hand the report in; where nothing is to be judged, the case is over."""
    from game.cli._cases import find_case, panel_names, played, report_from

    panel_names(args.panel)  # before the report is in for good
    found = find_case(args)
    with played(found) as play:
        if found.stage != "closing":
            digest = play.report(report_from(args, play.believed, play.brief))
            _say_or_print(args, {"kind": "report", "sha256": digest}, f"report committed to as {digest}")
        if play.asked:
            _show_challenge(args, play)
            return 0
        head = play.finish()
    return _over(args, found.folder, head)


def judged(args: argparse.Namespace) -> int:
    """Show the challenge, or take the answer."""
    from game.cli._cases import find_case, judgement_from, panel_names, played

    panel_names(args.panel)
    found = find_case(args)
    with played(found) as play:
        if found.stage != "closing":
            judgement = judgement_from(args, play)
            if judgement is None:
                _show_challenge(args, play)
                return 0
            play.judge(judgement)
        head = play.finish()
    return _over(args, found.folder, head)


def _show_challenge(args: argparse.Namespace, play: Any) -> None:
    """The prompts, once the report is in.

    Raises:
        StageError: It is not, or nothing is asked.
    """
    from game.cli._looks import show_challenge

    show_challenge(args, play.challenge(), play.brief.task)


def told(args: argparse.Namespace) -> int:
    """Where the case stands; a case that a killed process left almost over is finished."""
    from game.cli._cases import find_case, played

    found = find_case(args, over=True)
    if found.stage == "closing":
        with played(found) as play:
            head = play.finish()
        return _over(args, found.folder, head)
    with told_to_user():
        from game.cli._looks import show_status

        show_status(args, found)
    return _over(args, found.folder, "") if found.stage == "over" else 0


def listed(args: argparse.Namespace) -> int:
    """A line for each case, newest first."""
    with told_to_user():
        from game.blue.opening import cases_in
        from game.blue.telling import status_data

        rows = [status_data(each) for each in cases_in(args.log_dir)]
    for row in rows:
        if args.json:
            _print_json(row | {"kind": "case"})
        elif args.display != "none":
            name, spent = Path(row["folder"]).name, f"{row['spent']:g} of {row['budget']:g}"
            print("\t".join((name, f"{row['suite']}:{row['case']}", row["stage"], spent)))
    return 0


def _over(args: argparse.Namespace, folder: Path, head: str) -> int:
    """Show how a case ended, and what auditors make of it."""
    from game.cli._debriefing import show_debrief

    if head:
        _say_or_print(args, {"kind": "sealed", "head": head}, f"sealed as {head}")
    show_debrief(args, folder)
    return 0


def _say_or_print(args: argparse.Namespace, data: dict[str, Any], text: str) -> None:
    """A line of JSON on stdout where it is wanted, otherwise a sentence on stderr."""
    if args.json:
        _print_json(data)
    else:
        from game.cli._progress import say

        say(text)


def _print_json(data: dict[str, Any]) -> None:
    from game.cli._rounds import print_json

    print_json(data)
