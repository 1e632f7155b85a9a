"""Look after the kept checkpoints: list them, show one, verify their bytes, throw old ones away."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.shelf import Kept

DAMAGED = 3  # exit code
ACTIONS = {
    "list": "every kept checkpoint, and whether today's code would make the same",
    "show": "one checkpoint: where it came from, what it measures, how it does its task",
    "verify": "check every file against its hash; with --retrain, train again and compare the bytes",
    "prune": "delete what is outdated, damaged or left over by killed training",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_output_options

    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    functions: dict[str, Callable[[argparse.Namespace], int]] = {
        "list": _list,
        "show": _show,
        "verify": _verify,
        "prune": _prune,
    }
    for name, summary in ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        action.set_defaults(act=functions[name])
        if name == "show":
            action.add_argument("name", metavar="CHECKPOINT", help="such as facts-small@0.0")
        if name == "verify":
            action.add_argument("names", nargs="*", metavar="CHECKPOINT", help="these only (default: all)")
            action.add_argument("--retrain", action="store_true", help="train each again and compare")
        if name == "prune":
            action.add_argument("--all", action="store_true", help="delete every checkpoint")
            action.add_argument("--dry-run", action="store_true", help="say what would go, delete nothing")
        add_output_options(action)


def run(args: argparse.Namespace) -> int:
    """Do the chosen action."""
    from game.cli._faults import told_to_user

    with told_to_user():
        code: int = args.act(args)
    return code


def _list(args: argparse.Namespace) -> int:
    from models.shelf import kept
    from models.zoo import state_of

    rows = [_row(each, state_of(each)) for each in kept()]
    if not rows and args.display == "rich" and not args.json:
        print("no checkpoints are kept yet; audit-game train RECIPE makes one", file=sys.stderr)
    _show_rows(args, ("checkpoint", "state", "hash", "size", "cpu_s", "measures"), rows)
    return 0


def _row(each: "Kept", state: str) -> dict[str, Any]:
    note = each.note
    return {
        "checkpoint": note.name if note else each.path.stem,
        "state": state,
        "hash": note.hash if note else "",
        "size": each.size,
        "cpu_s": note.cpu_s if note else None,
        "measures": note.metrics if note else {},
    }


def _show(args: argparse.Namespace) -> int:
    from game.report.zoo_view import checkpoint_data, checkpoint_lines, checkpoint_view

    each = _chosen([args.name])[0]
    if args.json:
        from game.cli._rounds import print_json

        print_json(checkpoint_data(each))
    elif args.display == "plain":
        print("\n".join(checkpoint_lines(each)))
    elif args.display == "rich":
        from game.cli._console import console

        console().print(checkpoint_view(each))
    return 0


def _verify(args: argparse.Namespace) -> int:
    from models.shelf import kept
    from models.zoo import state_of

    code, rows = 0, []
    for each in _chosen(args.names) if args.names else kept():
        state = state_of(each)
        verdict = "damaged" if state == "damaged" else "intact"
        if args.retrain and state == "current":
            verdict = _again(each)
        code = DAMAGED if verdict.startswith(("damaged", "other")) else code
        rows.append({"checkpoint": _row(each, state)["checkpoint"], "state": state, "verdict": verdict})
    _show_rows(args, ("checkpoint", "state", "verdict"), rows)
    return code


def _again(each: "Kept") -> str:
    from models.strict_yaml import ConfigError
    from models.training import TrainingError
    from models.zoo import again

    assert each.note is not None
    print(f"training {each.note.name} again", file=sys.stderr, flush=True)
    try:
        same = again(each).hash == each.note.sha256
    except (ConfigError, TrainingError) as error:
        return f"cannot be trained here: {error}"
    return "same bytes when trained again" if same else "other bytes when trained again"


def _prune(args: argparse.Namespace) -> int:
    from models.shelf import kept, leftovers, remove, size_of
    from models.zoo import state_of

    rows, freed = [], 0
    for each in kept():
        state = state_of(each)
        if (args.all or state != "current") and (args.dry_run or remove(each.path)):
            freed += each.size
            rows.append({"file": each.path.name, "why": state})
    for path in leftovers():
        freed += size_of(path)
        rows.append({"file": path.name, "why": "left over"})
        if not args.dry_run:
            path.unlink(missing_ok=True)
    _show_rows(args, ("file", "why"), rows)
    if args.display != "none":
        verb = "would free" if args.dry_run else "freed"
        print(f"{verb} {freed / 1e6:.1f} MB", file=sys.stderr)
    return 0


def _chosen(names: Sequence[str]) -> "list[Kept]":
    """The kept checkpoints of those names, the current one where several have the same name."""
    from game.cli._faults import CommandError
    from models.naming import unknown
    from models.shelf import kept
    from models.zoo import state_of

    found: dict[str, Kept] = {}
    for each in kept():
        if each.note is not None and (each.note.name not in found or state_of(each) == "current"):
            found[each.note.name] = each
    for name in names:
        if name not in found:
            raise CommandError(unknown("checkpoint", name, list(found)))
    return [found[name] for name in names]


def _show_rows(args: argparse.Namespace, columns: Sequence[str], rows: list[dict[str, Any]]) -> None:
    if args.json:
        from game.cli._rounds import print_json

        for row in rows:
            print_json({"kind": "checkpoint"} | row)
    elif args.display == "plain":
        for row in rows:
            print("\t".join(_cells(row, columns)))
    elif args.display == "rich" and rows:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        from game.cli._console import console

        table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
        for row in rows:
            style = {"damaged": "red", "outdated": "dim"}.get(row.get("state", ""), "")
            table.add_row(*(Text(cell) for cell in _cells(row, columns)), style=style)
        console().print(table)


def _cells(row: dict[str, Any], columns: Sequence[str]) -> Iterator[str]:
    for name in columns:
        value = row[name]
        if isinstance(value, dict):
            yield ", ".join(f"{key} {number:.3f}" for key, number in value.items())
        elif name == "hash":
            yield str(value)[:12]
        elif name == "size":
            yield f"{value / 1e6:.2f} MB"
        elif name == "cpu_s":
            yield "" if value is None else f"{value:.0f}"
        else:
            yield str(value)
