"""Do the shipped recipes train in time and as well as they promise, and what do hook points cost?

Every recipe is trained anew on three seeds, used nowhere else: CPU seconds, and the first measure of its
criterion. Our training step and our full cache stand beside peers, in one run: a plain transformer as one
writes it for speed, and TransformerLens where `make interop` has installed it. Seconds mean a quiet machine.

    python -m benchmarks.models [--json] [--recipes A,B] [--jobs N]
"""

import argparse
import hashlib
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Missing, print_json, show, spread_of
from benchmarks.peers.speed import speed
from models.checkpoints import Checkpoint, to_bytes
from models.recipe import FOLDER, Recipe, named_recipe
from models.training import train

SEEDS = (910, 911, 912)
TWICE = ("facts-tiny", "induction")  # trained twice in two processes, for the bytes
LIMITS = {
    "facts-small": 60.0,
    "facts-base": 480.0,
    "modular-addition": 60.0,
    "induction": 60.0,
    "ioi": 120.0,
}
OTHERS = 240.0  # CPU seconds for every other recipe
ROOT = Path(__file__).resolve().parent.parent
PEERS = {"tl3": "TransformerLens 3.9", "tl4": "TransformerLens 4"}


@dataclass(frozen=True)
class Training:
    """One training: CPU seconds of it and of what it goes on from, measures, and a hash of the bytes."""

    recipe: str
    seed: int
    cpu_s: float
    metrics: Mapping[str, float]
    sha256: str


def main() -> None:
    """Train, time, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--recipes", default=",".join(shipped()), help="which (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once (default 1, the honest one)")
    args = parser.parse_args()
    names = [name for name in args.recipes.split(",") if name]
    rows: dict[str, Figure | Missing] = dict(side_by_side())
    twice = [name for name in TWICE if name in names]
    wanted = [(name, seed) for name in names for seed in SEEDS] + [(name, SEEDS[0]) for name in twice]
    done = list(trainings(wanted, args.jobs))
    for name in names:
        rows |= figures_of(named_recipe(name), [each for each in done if each.recipe == name][: len(SEEDS)])
    if twice:
        rows["byte_identical"] = identical(done, twice)
    if args.json:
        print_json(rows)
        return
    show("models", rows, "training: median, least, most of 3 seeds; ratios: median of pairs; peer: the limit")
    for line in complaints(done):
        print(line)


def shipped() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def trainings(wanted: Sequence[tuple[str, int]], jobs: int) -> Iterator[Training]:
    """Every training in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, max_tasks_per_child=1) as pool:
        for each in pool.map(trained_anew, *zip(*wanted, strict=True)):
            print(f"trained {each.recipe}@{each.seed}.{each.seed}: {each.cpu_s:.1f} CPU s", file=sys.stderr)
            yield each


def trained_anew(name: str, seed: int) -> Training:
    """One training from nothing, what it goes on from included."""
    recipe = named_recipe(name)
    started = time.process_time()
    start: Checkpoint | None = None
    if recipe.continues is not None:
        start = train(named_recipe(recipe.continues), seed, seed).checkpoint
    checkpoint = train(recipe, seed, seed, start=start).checkpoint
    seconds = time.process_time() - started
    metrics = recipe.task.build(seed).evaluate(checkpoint.model())
    return Training(name, seed, seconds, metrics, hashlib.sha256(to_bytes(checkpoint)).hexdigest())


def figures_of(recipe: Recipe, done: Sequence[Training]) -> dict[str, Figure]:
    """CPU seconds, and the first measure of the criterion: median, least and most over the seeds."""
    measure = next(iter(recipe.criterion))
    seconds = spread_of([each.cpu_s for each in done], "CPU s")
    limit = LIMITS.get(recipe.name, OTHERS)
    return {
        f"train_cpu_s.{recipe.name}": Figure(seconds.value, seconds.unit, seconds.low, seconds.high, limit),
        f"accuracy.{recipe.name}": spread_of([each.metrics[measure] for each in done], measure),
    }


def complaints(done: Sequence[Training]) -> Iterator[str]:
    """Trainings that missed their recipe's criterion, more steps included."""
    for each in done:
        recipe = named_recipe(each.recipe)
        for metric in recipe.missed(each.metrics):
            name = f"{each.recipe}@{each.seed}.{each.seed}"
            yield f"{name}: {metric} {each.metrics[metric]:.4f}, wanted {recipe.criterion[metric]}"


def identical(done: Sequence[Training], twice: Sequence[str]) -> Figure:
    """Share of the checkpoints trained in two processes that came out byte for byte the same."""
    again = done[-len(twice) :]
    first = {each.recipe: each.sha256 for each in reversed(done[: -len(twice)]) if each.seed == SEEDS[0]}
    same = [float(first[each.recipe] == each.sha256) for each in again]
    return Figure(sum(same) / len(same), "share", min(same), max(same))


def side_by_side() -> Iterator[tuple[str, Figure | Missing]]:
    """Our step and our cache beside the peers'."""
    own = speed()
    yield "step_ratio_plain", own["step"]
    yield "cache_ratio", own["cache"]
    three, four = peer("tl3"), peer("tl4")
    yield "step_ratio_tl", figure(three, "step_ratio", "TL / ours")
    yield "tl_export_max_abs", figure(three, "max_abs", "logits")
    yield "tl_bridge_max_abs", figure(four, "max_abs", "logits")
    yield "cache_ratio_tl3", figure(three, "cached_ratio", "cached / plain")
    yield "cache_ratio_tl4", figure(four, "cached_ratio", "cached / plain")


def peer(name: str, module: str = "tl") -> dict[str, Any] | None:
    """What a peer's own environment measures, if it is there."""
    python = ROOT / f".venv-{name}" / "bin" / "python"
    if not python.exists():
        return None
    command = [str(python), "-m", f"benchmarks.peers.{module}"]
    out = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout
    found: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return found


def figure(found: dict[str, Any] | None, key: str, unit: str) -> Figure | Missing:
    """One figure of a peer, or that it is missing."""
    if found is None:
        return Missing("not installed; make interop")
    return Figure(found[key], unit, found[key], found[key])


if __name__ == "__main__":
    main()
