"""Make a checkpoint from your own weights (TransformerLens names, safetensors) and a task."""

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_output_options, add_seed

    parser.add_argument("weights", type=Path, metavar="WEIGHTS", help="a state dict as .safetensors")
    what = "name, task (or your own task file) and architecture, as in a recipe"
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help=what)
    add_seed(parser, "--world-seed", "which world of the task the weights were trained in")
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Check everything, then keep it; print the checkpoint's name, hash and measures."""
    from game.cli._faults import CommandError, told_to_user
    from game.cli._progress import say

    with told_to_user():
        from models.imports import candidate, keep
        from models.tl_import import ImportFault

        try:
            found = candidate(args.weights, args.config, args.world_seed)
            path = keep(found)
        except ImportFault as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{error.filename}: cannot be written: {error.strerror or error}") from error
    name = f"{found.recipe.name}@{args.world_seed}.{args.world_seed}"
    if args.json:
        from game.cli._rounds import print_json

        data = {"kind": "checkpoint", "name": name, "sha256": found.checkpoint.hash}
        print_json(data | {"metrics": found.metrics, "recipe": str(path)})
    elif args.display != "none":
        measures = "\t".join(f"{metric} {value:.4f}" for metric, value in found.metrics.items())
        print(f"{name}\t{found.checkpoint.hash[:16]}\t{measures}")
        say(f"recipe {path}")
    return 0
