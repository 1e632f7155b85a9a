"""Write a checkpoint in a form that another library loads: TransformerLens 3.9 (tl3) or 4 (tl4)."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.checkpoints import Checkpoint

TARGETS = ("tl3", "tl4")


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_output_options, add_seed

    what = "a recipe, or a checkpoint file such as a run's artifacts/*.safetensors"
    parser.add_argument("what", metavar="RECIPE_OR_FILE", help=what)
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="to be made; weights, config and a README"
    )
    parser.add_argument("--to", choices=TARGETS, default="tl3", help="for which library (default: tl3)")
    add_seed(parser, "--world-seed", "which world: what is true in it")
    add_seed(parser, "--seed", "which initial weights and order of the data")
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Train or read the checkpoint, then write the folder; nothing is written if the target cannot say it."""
    from game.cli._faults import CommandError, told_to_user

    if args.folder.exists():
        raise CommandError(f"{args.folder}: exists already; name a folder to be made")
    with told_to_user():
        from models.interop import ExportError, export

        checkpoint = _checkpoint(args)
        try:
            export(checkpoint, args.to, args.folder)
        except ExportError as error:
            raise CommandError(f"{args.what}: {args.to} cannot express this model: {error}") from error
        except OSError as error:
            raise CommandError(f"{args.folder}: cannot be written: {error.strerror or error}") from error
    if args.json:
        from game.cli._rounds import print_json

        data = {"kind": "export", "folder": str(args.folder), "to": args.to, "sha256": checkpoint.hash}
        print_json(data)
    elif args.display != "none":
        print(f"{args.folder}\t{args.to}\t{checkpoint.hash[:16]}")
    return 0


def _checkpoint(args: argparse.Namespace) -> "Checkpoint":
    if args.what.endswith(".safetensors"):
        return _from_file(Path(args.what))
    from game.cli._names import load_recipe
    from models.zoo import trained

    return trained(load_recipe(args.what), args.world_seed, args.seed).checkpoint


def _from_file(path: Path) -> "Checkpoint":
    from game.cli._faults import CommandError
    from models.checkpoints import CheckpointError, from_bytes

    try:
        return from_bytes(path.read_bytes())
    except OSError as error:
        raise CommandError(f"{path}: cannot be read: {error.strerror or error}") from error
    except CheckpointError as error:
        raise CommandError(f"{path}: {error}") from error
