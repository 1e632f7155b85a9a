"""Look at edits: one specification in every detail, or what every kind does on real models."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from game.cli._faults import CommandError

if TYPE_CHECKING:
    from game.red.edit_table import Attempt
    from game.red.lab import Preview
    from models.training import Progress


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_output_options, add_seed, positive

    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    summary = "apply a specification to one model: truth, gates, measures, spectrum, and a picture"
    preview = actions.add_parser("preview", help=summary, description=summary, allow_abbrev=False)
    preview.add_argument("spec", type=Path, metavar="SPEC.yaml", help="an edit or a control")
    preview.add_argument("--recipe", metavar="RECIPE", help="of the model (default: one that suits the kind)")
    add_seed(preview, "--world", "world and training seed of the model")
    preview.add_argument("--save", type=Path, metavar="FILE.png", help="write the picture there")
    preview.set_defaults(act=_preview)
    add_output_options(preview)
    summary = "draw edits of every kind on models of their own, and tell what they do"
    table = actions.add_parser("table", help=summary, description=summary, allow_abbrev=False)
    table.add_argument("--kinds", metavar="A,B", help="which (default: every kind)")
    table.add_argument(
        "--edits", type=positive, default=20, metavar="N", help="of a kind on each of 3 models (default: 20)"
    )
    table.add_argument("--jobs", type=positive, default=1, metavar="N", help="processes (default: 1)")
    table.add_argument("--save", type=Path, metavar="FILE.md", help="write the tables there, as Markdown")
    table.set_defaults(act=_table)
    add_output_options(table)


def run(args: argparse.Namespace) -> int:
    """Do the chosen action."""
    code: int = args.act(args)
    return code


def _preview(args: argparse.Namespace) -> int:
    """1 if a gate fails: such an edit would not be dealt."""
    from game.cli._specs import previewed

    found = previewed(args.spec, args.recipe, args.world)
    if args.save is not None:
        from game.report.edit_picture import edit_png

        _save(args.save, edit_png(found))
    _show(args, found)
    return 0 if found.edited.record.accepted else 1


def _table(args: argparse.Namespace) -> int:
    """Train what is missing, then draw, edit and measure, kind by kind."""
    from game.cli._faults import told_to_user
    from game.cli._progress import say, watching
    from models.naming import unknown

    with watching(args) as watch, told_to_user():
        from edits.kinds import families
        from game.red.edit_table import SEEDS, all_attempts
        from game.runs.events import ModelTraining
        from models.nursery import train_missing

        kinds = args.kinds.split(",") if args.kinds else list(families())
        strange = next((kind for kind in kinds if kind not in families()), None)
        if strange is not None:
            raise CommandError(f"--kinds: {unknown('kind of edit', strange, families())}")

        def on_step(model: str, progress: "Progress") -> None:
            watch(ModelTraining(model, progress.step, progress.steps))

        recipes = dict.fromkeys(families()[kind].home for kind in kinds)
        train_missing([(recipe, seed, seed) for recipe in recipes for seed in SEEDS], on_step)
        done = all_attempts(
            kinds, args.edits, args.jobs, lambda kind, seed: say(f"{kind} on models of seed {seed} done")
        )
    _show_table(args, done)
    return 0


def _show_table(args: argparse.Namespace, done: "list[Attempt]") -> None:
    from game.report.edit_table_view import table_data, table_lines, table_markdown, table_view

    if args.save is not None:
        chosen = f" --kinds {args.kinds}" if args.kinds else ""
        command = f"audit-game edit table --edits {args.edits}{chosen}"
        _save(args.save, table_markdown(done, command).encode())
    if args.json:
        from game.cli._rounds import print_json

        print_json(table_data(done))
    elif args.display == "plain":
        print("\n".join(table_lines(done)))
    elif args.display == "rich":
        from game.cli._console import console

        console().print(table_view(done))


def _save(path: Path, data: bytes) -> None:
    from models.checkpoints import write_atomically

    try:
        write_atomically(path, data)
    except OSError as error:
        raise CommandError(f"--save {path}: {error.strerror}") from error


def _show(args: argparse.Namespace, found: "Preview") -> None:
    from game.report.edit_view import preview_data, preview_lines, preview_view

    if args.json:
        from game.cli._rounds import print_json

        print_json(preview_data(found))
    elif args.display == "plain":
        print("\n".join(preview_lines(found)))
    elif args.display == "rich":
        from game.cli._console import console

        console().print(preview_view(found))
