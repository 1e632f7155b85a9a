"""Train a recipe's checkpoint, or find it trained already, and show its measures."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from models.training import Progress
    from models.zoo import Trained

EVERY = 100  # steps between lines of progress where no bar can be drawn


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_output_options, add_seed

    parser.add_argument("recipe", metavar="RECIPE", help="a shipped or imported recipe, or a file")
    add_seed(parser, "--world-seed", "which world: what is true in it")
    add_seed(parser, "--seed", "which initial weights and order of the data")
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Train with progress on stderr; print the checkpoint's name, hash and measures."""
    from game.cli._faults import told_to_user
    from game.cli._names import load_recipe
    from game.cli._progress import say

    recipe = load_recipe(args.recipe)
    with told_to_user():
        from models.zoo import trained

        with _watching(args) as on_step:
            found = trained(recipe, args.world_seed, args.seed, on_step)
    plot = _plot(found)
    if args.json:
        from game.cli._rounds import print_json

        data = {"kind": "checkpoint", "name": found.name, "sha256": found.checkpoint.hash}
        print_json(data | {"metrics": found.metrics, "plot": plot and str(plot)})
    elif args.display != "none":
        measures = "\t".join(f"{name} {value:.4f}" for name, value in found.metrics.items())
        print(f"{found.name}\t{found.checkpoint.hash[:16]}\t{measures}")
        if plot is not None:
            say(f"loss curve {plot}")
    return 0


def _plot(found: "Trained") -> "Path | None":
    """The picture of the loss curve beside the checkpoint, drawn if it is not there yet."""
    from models.shelf import CURVE, read_note
    from models.zoo import path_of

    if found.recipe.imported is not None:
        return None
    path = path_of(found.recipe, found.world_seed, found.seed)
    note, picture = read_note(path), path.with_suffix(CURVE)
    if note is not None and note.curve and not picture.exists():
        from game.report.curve import curve_png
        from models.checkpoints import write_atomically

        try:
            write_atomically(picture, curve_png(found.name, note.curve))
        except OSError:  # a picture is no reason to fail; the cache may be another user's
            return None
    return picture


@contextmanager
def _watching(args: argparse.Namespace) -> "Iterator[Callable[[Progress], None]]":
    """What shows progress, as the flags and the terminal allow."""
    from game.cli._progress import can_redraw

    if args.display == "none":
        yield lambda _progress: None
    elif args.display == "rich" and can_redraw():
        with _bar(args.recipe) as on_step:
            yield on_step
    else:
        yield _tell


@contextmanager
def _bar(name: str) -> "Iterator[Callable[[Progress], None]]":
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    from game.cli._console import console

    words = TextColumn("{task.description}", markup=False)
    columns = (words, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console(error=True), transient=True) as bar:
        task = bar.add_task(name, total=None)

        def on_step(progress: "Progress") -> None:
            text = f"{name}  loss {progress.loss:.3f} nats  accuracy {progress.accuracy:.3f}"
            bar.update(task, total=progress.steps, completed=progress.step, description=text)

        yield on_step


def _tell(progress: "Progress") -> None:
    if progress.step % EVERY == 0 or progress.step == progress.steps:
        from game.cli._progress import say

        figures = f"answer loss {progress.loss:.3f} nats, accuracy {progress.accuracy:.3f}"
        say(f"step {progress.step} of at most {progress.steps}, {figures}")
