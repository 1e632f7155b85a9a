"""Look at one edit: what it would change, what it does, and how it looks in the weights."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from game.lab import Preview


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_output_options, add_seed

    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    summary = "apply a specification to one model: truth, gates, measures, spectrum, and a picture"
    preview = actions.add_parser("preview", help=summary, description=summary, allow_abbrev=False)
    preview.add_argument("spec", type=Path, metavar="SPEC.yaml", help="an edit or a control")
    preview.add_argument("--recipe", metavar="RECIPE", help="of the model (default: one that suits the kind)")
    add_seed(preview, "--world", "world and training seed of the model")
    preview.add_argument("--save", type=Path, metavar="FILE.png", help="write the picture there")
    preview.set_defaults(act=_preview)
    add_output_options(preview)


def run(args: argparse.Namespace) -> int:
    """Do the chosen action."""
    code: int = args.act(args)
    return code


def _preview(args: argparse.Namespace) -> int:
    """1 if a gate fails: such an edit would not be dealt."""
    from game.cli._specs import previewed

    found = previewed(args.spec, args.recipe, args.world)
    if args.save is not None:
        _save(found, args.save)
    _show(args, found)
    return 0 if found.edited.record.accepted else 1


def _save(found: "Preview", path: Path) -> None:
    from game.cli._faults import CommandError
    from game.report.edit_picture import edit_png
    from models.checkpoints import write_atomically

    try:
        write_atomically(path, edit_png(found))
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
