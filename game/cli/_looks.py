"""How a case that is played by hand is looked at: a tool's price and result, an outlook, a challenge."""

import argparse
from typing import TYPE_CHECKING

from game.cli._progress import say

if TYPE_CHECKING:
    from game.api import Brief, Challenge, PublicTask, Report
    from game.blue.opening import Standing
    from game.blue.play import Play
    from game.by_hand.menu import Tool

HOW = "judge --set 3=0.8 says that it is what set 3 is about, with 0.8"


def looked_at(play: "Play", tool: "Tool", chosen: argparse.Namespace) -> None:
    """Say the price, run the tool, say what was charged, and show what it found.

    Raises:
        CommandError: It is refused; nothing was charged.
    """
    from game.blue.looking import look, quoted
    from game.cli._tool_parser import words_of
    from game.cli._tool_run import refusals, save_picture, show_result

    words, box = words_of(tool, chosen), play.subject.box
    before = box.budget.spent
    with refusals(tool.name):
        say(f"{tool.name} costs {quoted(play, tool, words, chosen.draw)}")
        result = look(play, tool, words, chosen.draw)
    budget = box.budget
    say(f"charged {budget.spent - before:g}; {budget.remaining:,.6g} of {budget.total:,.6g} credits are left")
    if chosen.save is not None:
        save_picture(chosen.save, result, play.subject.task)
    paid = {"charged": budget.spent - before, "spent": budget.spent, "left": budget.remaining}
    show_result(chosen, result, play.subject.name, play.subject.task, **paid)


def show_outlook(args: argparse.Namespace, belief: "Report", brief: "Brief") -> None:
    """Print what a belief would score under each outcome."""
    from game.blue.outlook import outlooks
    from game.blue.sayings import reported

    found = outlooks(belief, brief)
    if args.json:
        from game.blue.telling import outlook_data
        from game.cli._rounds import print_json

        print_json({"kind": "belief", "belief": reported(belief), "outlook": outlook_data(found)})
    elif args.display == "plain":
        for each in found:
            skills = (f"{each.detection:.4f}", f"{each.localisation:.4f}")
            print("\t".join((str(each.where or "not edited"), f"{each.believed:.4f}", *skills)))
    elif args.display == "rich":
        from game.cli._console import console
        from game.report.blue_view import outlook_view

        console().print(outlook_view(belief, found))


def show_status(args: argparse.Namespace, standing: "Standing") -> None:
    """Print where a case stands."""
    from game.blue.telling import status_data

    data = status_data(standing)
    if args.json:
        from game.cli._rounds import print_json

        print_json(data)
    elif args.display == "plain":
        print("\n".join(f"{name}\t{value}" for name, value in data.items()))
    elif args.display == "rich":
        from game.cli._console import console
        from game.report.blue_view import status_view

        console().print(status_view(data))


def show_challenge(args: argparse.Namespace, challenge: "Challenge", task: "PublicTask") -> None:
    """Print what is asked, and how it is answered."""
    if args.json:
        from game.blue.telling import challenge_data
        from game.cli._rounds import print_json

        print_json(challenge_data(challenge, task))
        return
    if args.display == "plain":
        for number, rho in enumerate(challenge.prior):
            text = task.text(challenge.tokens[number, : int(challenge.lengths[number])].tolist())
            place = (str(challenge.target_set[number]), str(number), challenge.stratum[number])
            print("\t".join((*place, f"{rho:.4f}", text)))
        return
    from game.cli._console import console
    from game.report.blue_view import challenge_view, sets_view

    every = getattr(args, "every", False)
    console().print(challenge_view(challenge, task) if every else sets_view(challenge, task))
    say(f"what was edited, if anything? {HOW}")
    if not every:
        say("judge --all shows every prompt")
