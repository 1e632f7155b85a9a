"""The interactive game: one case, tools by name, notes, a running belief, the report, then the debrief."""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from game.cli._entry import Parser
from game.cli._faults import CommandError, told_to_user
from game.cli._progress import say

if TYPE_CHECKING:
    from game.blue.play import Play
    from game.by_hand.menu import Tool

LEAVE = ("quit", "exit")
COMMANDS = {
    "help": ("help [TOOL]", "what can be typed, or one tool's arguments and what they mean"),
    "tools": ("tools [WORD]", "every tool, or those that mention a word: what each tells and costs"),
    "price": ("price TOOL ...", "what a tool's line would cost; nothing is run"),
    "brief": ("brief", "what is known of the case"),
    "note": ("note TEXT", "keep a note"),
    "believe": (
        "believe P [NAME=P ...]",
        "keep a running belief: P(edited), and P(edited and written there)",
    ),
    "status": ("status", "credits, what was run, notes, belief"),
    "report": ("report [--p-edited P --at NAME=P ...]", "hand in the running belief, or this, for good"),
    "judge": ("judge [--set N=P ...]", "after the report, where behaviour is scored: which answers changed"),
    "quit": ("quit", "leave, as Ctrl-D does; the same command goes on"),
}


def play_by_hand(args: argparse.Namespace, target: str) -> int:
    """Deal a case or go on with it, then read commands until it is over or left.

    Returns:
        0; 2 if it was read from no terminal and a line was refused.
    """
    from game.cli._cases import dealt, panel_names, played
    from game.cli._debriefing import show_debrief

    panel_names(args.panel)
    folder = dealt(args, target)
    with told_to_user():
        from game.blue.opening import standing

        found = standing(folder)
    with played(found) as play:
        shell = Shell(args, play, terminal=sys.stdin.isatty() and sys.stdout.isatty())
        shell.greet(found.stage)
        if found.stage != "closing":
            shell.read()
        over = play.said is not None and not play.asked
        head = play.finish() if over else ""
    if over:
        say(f"sealed as {head}")
        show_debrief(args, folder)
    else:
        say(f"left open in {folder}; the same command goes on")
    return 2 if shell.refused and not shell.terminal else 0


@dataclass
class Shell:
    """Reads lines and does what they say.

    Attributes:
        args: Of the command that started it.
        play: The case.
        terminal: Whether a person sits at it.
        refused: How many lines could not be done.
    """

    args: argparse.Namespace
    play: "Play"
    terminal: bool
    refused: int = field(default=0, init=False)

    def greet(self, stage: str) -> None:
        """Say what the case is, and how to begin."""
        run = self.play.store.run()
        draw = "sealed" if run.rated else f"seed {run.seed}"
        name = f"{self.play.case.id} of {run.config['suite']['name']}"
        say(f"{name} ({draw}), committed to as {run.commitments}")
        if self.args.display == "rich":
            self._brief([])
        if stage == "judging":
            self._judge([])
        elif stage == "looking":
            begin = "`tools` lists the tools, `help` what else there is" if self.terminal else ""
            spent = self.play.subject.box.budget.spent
            told = [f"{spent:g} credits were spent before" if spent else "", begin]
            if any(told):
                say("; ".join(filter(None, told)))

    def read(self) -> None:
        """Do one line after another, until the case is over or the player leaves."""
        for line in self._lines():
            try:
                if not self.do(line):
                    return
            except KeyboardInterrupt:
                say("stopped; what was charged is kept, and asking again is free")

    def do(self, line: str) -> bool:
        """Do one line; whether there is more to come.

        A line that cannot be done is told and counted, and charges nothing.
        """
        from game.blue.play import StageError
        from game.rules.faults import ReportError

        try:
            name, _, text = line.strip().partition(" ")
            if name in LEAVE:
                return False
            if name == "note":
                self._note(text.strip())
            elif words := shlex.split(line, comments=True):
                self._done(words[0], words[1:])
        except (CommandError, ReportError, StageError) as error:
            self._refuse(str(error))
        except ValueError as error:  # quotes that do not close
            self._refuse(f"{error}; wanted words, with quotes around what belongs together")
        except SystemExit as left:  # an argument parser has said what is wrong, or shown its help
            self.refused += left.code not in (0, None)
        return self.play.said is None or self.play.asked

    def _done(self, name: str, rest: Sequence[str]) -> None:
        commands: dict[str, Callable[[Sequence[str]], None]] = {
            "help": self._help,
            "tools": self._tools,
            "price": self._price,
            "brief": self._brief,
            "believe": self._believe,
            "status": self._status,
            "report": self._report,
            "judge": self._judge,
        }
        if name in commands:
            commands[name](rest)
        else:
            self._look(name, rest)

    def _note(self, text: str) -> None:
        if not text:
            raise CommandError("note: got nothing; wanted some text")
        self.play.note(text)

    def _look(self, name: str, rest: Sequence[str]) -> None:
        from game.cli._looks import looked_at

        tool, chosen = self._read_tool(name, rest)
        looked_at(self.play, tool, chosen)

    def _read_tool(self, name: str, rest: Sequence[str]) -> "tuple[Tool, argparse.Namespace]":
        from game.catalogue import tools
        from game.cli._tool_run import read_tool, read_words
        from models.naming import unknown

        names = [entry.name for entry in tools()]
        if name not in names:
            raise CommandError(unknown("command or tool", name, [*COMMANDS, *names]))
        tool = read_tool(name)
        chosen = read_words(tool, rest, add_draw, "")
        chosen.json, chosen.display = chosen.json or self.args.json, self.args.display
        return tool, chosen

    def _price(self, rest: Sequence[str]) -> None:
        from game.blue.looking import quoted
        from game.cli._tool_parser import words_of
        from game.cli._tool_run import refusals

        if not rest:
            raise CommandError(
                "price: got nothing; wanted a tool's line, such as price lens --tokens sample:8"
            )
        tool, chosen = self._read_tool(rest[0], rest[1:])
        with refusals(tool.name):
            say(f"{tool.name} costs {quoted(self.play, tool, words_of(tool, chosen), chosen.draw)}")

    def _help(self, rest: Sequence[str]) -> None:
        from game.cli._tool_parser import tool_parser
        from game.cli._tool_run import read_tool

        if rest and rest[0] in COMMANDS:
            print(f"{COMMANDS[rest[0]][0]}\n    {COMMANDS[rest[0]][1]}")
        elif rest:
            print(tool_parser(read_tool(rest[0]), add_draw, "").format_help().rstrip())
        else:
            wide = max(len(usage) for usage, _ in COMMANDS.values())
            print("\n".join(f"{usage:{wide}}  {text}" for usage, text in COMMANDS.values()))
            print(f"{'TOOL ARGUMENTS':{wide}}  run a tool, such as spike --samples sample:400")

    def _tools(self, rest: Sequence[str]) -> None:
        from game.catalogue import tool_prices, tools
        from game.cli._console import console
        from game.report.blue_view import tools_view

        prices = tool_prices()
        rows = [(each.name, each.summary, prices.get(each.name, "")) for each in tools() if not each.broken]
        found = [row for row in rows if all(word.lower() in " ".join(row).lower() for word in rest)]
        console().print(tools_view(found))

    def _brief(self, _rest: Sequence[str]) -> None:
        from game.blue.telling import brief_data
        from game.cli._console import console
        from game.cli._rounds import print_json
        from game.report.blue_view import brief_view

        if self.args.json:
            print_json({"kind": "brief", **brief_data(self.play.brief)})
        else:
            console().print(brief_view(self.play.brief))

    def _believe(self, rest: Sequence[str]) -> None:
        from game.blue.sayings import belief_of
        from game.cli._looks import show_outlook

        if not rest:
            raise CommandError("believe: got nothing; wanted P(edited), such as believe 0.7 blocks.0.mlp=0.5")
        belief = belief_of(rest[0], rest[1:], self.play.brief)
        self.play.believe(belief)
        show_outlook(self.args, belief, self.play.brief)

    def _status(self, _rest: Sequence[str]) -> None:
        from game.blue.opening import standing
        from game.cli._looks import show_status

        show_status(self.args, standing(self.play.store.folder))

    def _report(self, rest: Sequence[str]) -> None:
        from game.cli._cases import add_report_options, report_from

        parser = Parser(prog="report", description=COMMANDS["report"][1], allow_abbrev=False)
        add_report_options(parser)
        chosen = parser.parse_args(rest)
        digest = self.play.report(report_from(chosen, self.play.believed, self.play.brief))
        say(f"report committed to as {digest}")
        if self.play.asked:
            self._judge([])

    def _judge(self, rest: Sequence[str]) -> None:
        from game.cli._cases import add_judge_options, judgement_from
        from game.cli._looks import show_challenge

        parser = Parser(prog="judge", description=COMMANDS["judge"][1], allow_abbrev=False)
        add_judge_options(parser)
        chosen = parser.parse_args(rest)
        challenge = self.play.challenge()
        judgement = judgement_from(chosen, self.play)
        if judgement is None:
            shown = argparse.Namespace(**vars(self.args) | {"every": chosen.every})
            show_challenge(shown, challenge, self.play.brief.task)
        else:
            self.play.judge(judgement)

    def _refuse(self, text: str) -> None:
        self.refused += 1
        say(f"error: {text}")

    def _lines(self) -> Iterator[str]:
        if not self.terminal:
            yield from sys.stdin
            return
        with _prompting(self.play) as ask:
            while True:
                try:
                    yield ask()
                except KeyboardInterrupt:
                    continue
                except EOFError:
                    return


def add_draw(group: argparse._ArgumentGroup) -> None:
    """The one argument that every tool has here beside its own."""
    from game.cli._options import add_seed

    add_seed(group, "--draw", "seed of the prompts that are drawn")


@contextmanager
def _prompting(play: "Play") -> "Iterator[Callable[[], str]]":
    """What asks for a line, with completion, and with the lines of before."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document
    from prompt_toolkit.history import FileHistory

    from game.by_hand.completion import continuations
    from game.catalogue import tools

    tool_names = [entry.name for entry in tools() if not entry.broken]
    components = [f"{component}=" for component, p in play.brief.component_prior.items() if p > 0]
    own: dict[str, Sequence[str]] = dict.fromkeys(COMMANDS, ())
    own |= {"help": [*COMMANDS, *tool_names], "price": tool_names, "believe": [*components, "rest="]}
    own |= {"report": ["--p-edited ", "--at ", "--claims ", "--notes ", "--file ", *components, "rest="]}
    own |= {"judge": ["--set ", "--prompt "]}

    class _Words(Completer):
        def get_completions(self, document: Document, _event: CompleteEvent) -> Iterator[Completion]:
            typed = document.text_before_cursor
            begun = "" if typed[-1:].isspace() else typed.split()[-1] if typed.split() else ""
            line = typed.removeprefix("price ")
            for word in continuations(
                line, [*COMMANDS, *tool_names], own, play.brief.task, play.brief.config
            ):
                yield Completion(word, start_position=-len(begun))

    def left() -> str:
        budget = play.subject.box.budget
        return (
            f" {play.case.id}   {budget.remaining:,.6g} of {budget.total:,.6g} credits left   Tab completes "
        )

    history = FileHistory(str(play.results / "history"))
    session: PromptSession[str] = PromptSession(
        history=history,
        completer=_Words(),
        complete_while_typing=False,
        auto_suggest=AutoSuggestFromHistory(),
        bottom_toolbar=left,
    )
    yield lambda: session.prompt("blue> ")
