"""Train a recipe's checkpoint, or find it trained already, and show its measures."""

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.training import Progress

EVERY = 100  # steps between lines of progress


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_output_options, add_seed

    parser.add_argument("recipe", metavar="RECIPE", help="a shipped recipe, or a file")
    add_seed(parser, "--world-seed", "which world: what is true in it")
    add_seed(parser, "--seed", "which initial weights and order of the data")
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Train with progress on stderr; print the checkpoint's name, hash and measures."""
    from game.cli._faults import told_to_user
    from game.cli._names import load_recipe

    recipe = load_recipe(args.recipe)
    with told_to_user():
        from models.zoo import trained

        found = trained(recipe, args.world_seed, args.seed, _silent if args.display == "none" else _tell)
    if args.json:
        from game.cli._rounds import print_json

        data = {"kind": "checkpoint", "name": found.name, "sha256": found.checkpoint.hash}
        print_json(data | {"metrics": found.metrics})
    elif args.display != "none":
        measures = "\t".join(f"{name} {value:.4f}" for name, value in found.metrics.items())
        print(f"{found.name}\t{found.checkpoint.hash[:16]}\t{measures}")
    return 0


def _tell(progress: "Progress") -> None:
    if progress.step % EVERY == 0 or progress.step == progress.steps:
        line = f"step {progress.step} of at most {progress.steps}, answer loss {progress.loss:.3f} nats"
        print(line, file=sys.stderr, flush=True)


def _silent(_progress: "Progress") -> None:
    pass
