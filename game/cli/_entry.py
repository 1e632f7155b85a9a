"""From words to a command: the parser, the exit code, and what is said when a command cannot go on."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from keyword import iskeyword
from pathlib import Path
from types import ModuleType
from typing import NoReturn

DESCRIPTION = (
    "Hidden edits in small transformers: a referee plants them, auditors look for them, scores are fair."
)


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code.

    0: done; 1: finished with failed rounds; 2: usage or configuration; 3: damaged store, or a leak that
    a self-check found; 4: the tier of isolation asked for is not reached; 130 and 143: stopped by Ctrl-C or
    SIGTERM.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 is no reason to fail
    args = build_parser(words).parse_args(words)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        return getattr(stop, "exit_code", 130)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that closing it says nothing
        return 1
    except Exception as error:
        return _told(error)
    return code


def build_parser(words: Sequence[str]) -> Parser:
    """A parser that knows every command by name, and only the chosen one's arguments."""
    parser = Parser(prog="audit-game", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    chosen = next((word for word in words if not word.startswith("-")), None)
    names = command_names()
    if chosen is not None and chosen not in names:
        from models.naming import unknown

        parser.error(unknown("command", chosen, names))
    for name in names:
        command = _command(name)
        summary = (command.__doc__ or "").partition("\n")[0]
        subparser = subparsers.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        if name == chosen:
            command.configure(subparser)
            subparser.set_defaults(run=command.run)
    return parser


def command_names() -> list[str]:
    """The commands that the folder holds; `import_.py` is `import`, which no module can be called."""
    files = Path(__file__).parent.glob("*.py")
    return sorted(path.stem.rstrip("_") for path in files if not path.stem.startswith("_"))


def _command(name: str) -> ModuleType:
    return importlib.import_module(f"game.cli.{name}_" if iskeyword(name) else f"game.cli.{name}")


def _told(error: Exception) -> int:
    """Print what a user can put right in one line a fault; anything else is a bug and keeps its traceback."""
    from game.cli._faults import CommandError

    if not isinstance(error, CommandError):
        raise error
    for line in str(error).splitlines():
        print(f"audit-game: error: {line}", file=sys.stderr)
    return error.exit_code


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from game.version import framework_version

        print(f"audit-game {framework_version()}")
        parser.exit()
