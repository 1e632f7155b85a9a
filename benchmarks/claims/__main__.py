"""What papers claim, on our models: one table of every file of this folder, and what did not transfer.

python -m benchmarks.claims [--json] [--only NAME,...]
"""

import argparse
import inspect
from importlib import import_module
from pathlib import Path

from rich.console import Console

from benchmarks.figures import print_json, show
from benchmarks.players.rows import claims

FOLDER = Path(__file__).parent
LESSON = "What did not transfer:"  # begins a paragraph of every file's docstring


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument(
        "--only", metavar="NAME,...", help=f"files of this folder: {', '.join(names())} (default: all)"
    )
    chosen = parser.parse_args()
    wanted = chosen.only.split(",") if chosen.only else names()
    unknown = sorted(set(wanted) - set(names()))
    if unknown:
        parser.error(f"--only: no file {', '.join(unknown)}; allowed: {', '.join(names())}")
    rows = claims(wanted)
    if chosen.json:
        print_json(rows)
        return
    show("what papers claim, on our models", rows, "peer: the paper's own figure, where it gives one")
    for name in wanted:
        Console().print(f"\n[bold]{name}[/bold]: {lesson(name)}", highlight=False)


def names() -> list[str]:
    """The files that measure a paper's claims."""
    files = (path.stem for path in FOLDER.glob("*.py"))
    return sorted(name for name in files if not name.startswith("_"))


def lesson(name: str) -> str:
    """What a file's docstring says of what did not transfer."""
    told = inspect.getdoc(import_module(f"benchmarks.claims.{name}")) or ""
    paragraphs = (each.replace("\n", " ") for each in told.split("\n\n"))
    return next((each for each in paragraphs if each.startswith(LESSON)), "")


if __name__ == "__main__":
    main()
