"""Play blue by single commands, for people, scripts and agents: deal a case, look, report, judge."""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """The actions, each with its own arguments."""
    from game.cli import _case_actions as actions
    from game.cli._cases import (
        add_deal_options,
        add_judge_options,
        add_log_dir,
        add_report_options,
        add_which,
    )
    from game.cli._options import add_output_options, credits_above_0, seed

    verbs = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    def verb(name: str, summary: str, act: object) -> argparse.ArgumentParser:
        found = verbs.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        found.set_defaults(act=act)
        return found

    opening = verb("open", "deal a case, commit to it, and tell what its player is told", actions.opened)
    opening.add_argument("suite", metavar="SUITE[:CASE]", help="a suite, or one of its cases")
    opening.add_argument(
        "--seed", type=seed, metavar="N", help="deal from a public seed, the same case for everyone"
    )
    add_deal_options(opening)
    opening.add_argument(
        "--budget", type=credits_above_0, metavar="CREDITS", help="instead of the suite's own budget"
    )
    add_log_dir(opening)
    tool = verb("tool", "run a tool on the case and pay for it", actions.looked)
    tool.add_argument("name", metavar="NAME", help="which tool; audit-game tool lists them")
    tool.add_argument(
        "rest", nargs=argparse.REMAINDER, metavar="...", help="the tool's arguments; --help tells them"
    )
    note = verb("note", "keep a note with the case", actions.noted)
    note.add_argument("text", metavar="TEXT", help="the note")
    believe = verb("believe", "keep a running belief, and see what it would score", actions.believed)
    believe.add_argument("p_edited", metavar="P", help="probability that the model was edited")
    believe.add_argument("at", nargs="*", metavar="NAME=P", help="edited, and this component written to")
    report = verb("report", "hand the report in, for good", actions.reported)
    add_report_options(report)
    judge = verb("judge", "see the challenge once the report is in, or answer it, for good", actions.judged)
    add_judge_options(judge)
    status = verb("status", "where the case stands, or how it ended", actions.told)
    for each in (report, judge, status):
        each.add_argument(
            "--panel",
            type=_names,
            metavar="A,B",
            help="auditors to compare with; none for none (all shipped)",
        )
    for each in (note, believe, report, judge, status):
        add_which(each)
    listing = verb("list", "the cases that were dealt", actions.listed)
    add_log_dir(listing)
    for each in (opening, tool, note, believe, report, judge, status, listing):
        add_output_options(each)


def run(args: argparse.Namespace) -> int:
    """Do what the action says."""
    code: int = args.act(args)
    return code


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]
