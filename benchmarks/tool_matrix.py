"""Which tool tells which kind of edit? Every tool on planted edits of every kind, and on matched controls.

Models are those of each family's home recipe at seeds on which no default was chosen. For each kind at least
20 edits that pass their gates are planted, and as many controls, of the same models; every tool of the
catalogue looks at both as an auditor of the whitebox league could, and its declared figure gives an AUROC,
its ranking of components a hit rate. `--save FOLDER` keeps every cell as a line of JSON: a killed run goes on
where it was, and one with more edits, kinds or tools adds to it; lines of other code are measured anew.
`--page docs/tools` writes the page there, `matrix.md`, with its picture.

All tools on one pair took 17 CPU seconds on `facts-small`, 12 on `statements`, 10 on `induction` and 7 on
`modular-addition`, beside a few for the pair itself; so a full run takes about 4 CPU hours, and the training
of 15 models the first time. Every cell keeps its own CPU seconds.

    python -m benchmarks.tool_matrix [--json] [--edits N] [--kinds A,B] [--tools X,Y] [--jobs N]
        [--save FOLDER] [--seeds A,B] [--page FOLDER]
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.figures import print_json, show
from benchmarks.matrix.figures import Outcome, outcome, rows
from benchmarks.matrix.measured import measure
from benchmarks.matrix.page import heat_map, page
from benchmarks.matrix.readings import READINGS
from benchmarks.matrix.records import Cell
from edits.kinds import families
from game.red.edit_table import SEEDS
from models.naming import unknown
from models.nursery import train_missing

PICTURE = "matrix.png"
EDITS = 20


def main() -> None:
    """Measure, print, write."""
    parser = _parser()
    chosen = parser.parse_args()
    kinds, tools = (
        _names(parser, "kind", chosen.kinds, families()),
        _names(parser, "tool", chosen.tools, READINGS),
    )
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    with TemporaryDirectory() as scratch:
        folder = chosen.save or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        cells = measured(kinds, tools, seeds, -(-chosen.edits // len(seeds)), chosen.jobs, folder)
    outcomes = {(each.tool, each.kind): each for each in told(cells, kinds, tools)}
    figures = dict(rows(list(outcomes.values())))
    if chosen.page is not None:
        models = f"models of seeds {', '.join(map(str, seeds))}"
        command = f"python -m benchmarks.tool_matrix{_options(parser, chosen)}"
        (chosen.page / PICTURE).write_bytes(heat_map(outcomes))
        text = page(outcomes, command, models, PICTURE)
        (chosen.page / "matrix.md").write_text(text, encoding="utf-8")
    if chosen.json:
        print_json(figures)
        return
    show("edit kinds by tools", figures, "AUROC 95 % interval; the peer of a hit rate is a random ranking")


def measured(
    kinds: Sequence[str], tools: Sequence[str], seeds: Sequence[int], wanted: int, jobs: int, folder: Path
) -> list[Cell]:
    """The cells of so many pairs of each kind on each model, every model and kind in a process of its own."""
    homes = {kind: families()[kind].home for kind in kinds}
    wanted_models = [(recipe, seed, seed) for recipe in dict.fromkeys(homes.values()) for seed in seeds]
    train_missing(wanted_models, lambda _name, _progress: None)
    found: list[Cell] = []
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        running = {
            pool.submit(measure, kind, homes[kind], seed, wanted, tools, folder): (kind, seed)
            for kind in kinds
            for seed in seeds
        }
        for future in as_completed(running):
            kind, seed = running[future]
            found += future.result()
            print(f"{kind} on the model of seed {seed} done", file=sys.stderr, flush=True)
    return sorted(found, key=lambda cell: (cell.kind, cell.seed, cell.attempt))


def told(cells: Sequence[Cell], kinds: Sequence[str], tools: Sequence[str]) -> Iterator[Outcome]:
    """What the cells come to, tool by tool."""
    of: Mapping[tuple[str, str], list[Cell]] = {(tool, kind): [] for tool in tools for kind in kinds}
    for cell in cells:
        of[cell.tool, cell.kind].append(cell)
    yield from (outcome(tool, kind, own) for (tool, kind), own in of.items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--edits", type=int, default=EDITS, help="of a kind, on all models together")
    parser.add_argument("--kinds", default=",".join(families()), help="which (default: all)")
    parser.add_argument("--tools", default=",".join(READINGS), help="which (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument(
        "--save", type=Path, metavar="FOLDER", help="keep every cell there, and go on from it"
    )
    parser.add_argument("--page", type=Path, metavar="FOLDER", help="write matrix.md with its picture there")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="of the models")
    return parser


def _options(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> str:
    """The options that decide the figures, where they are not the usual ones."""
    options = ("edits", "kinds", "tools", "seeds")
    unusual = [name for name in options if getattr(chosen, name) != parser.get_default(name)]
    return "".join(f" --{name} {getattr(chosen, name)}" for name in unusual)


def _names(
    parser: argparse.ArgumentParser, what: str, text: str, allowed: Mapping[str, object]
) -> tuple[str, ...]:
    names = tuple(name for name in text.split(",") if name)
    for name in names:
        if name not in allowed:
            parser.error(unknown(what, name, allowed))
    return names


if __name__ == "__main__":
    main()
